//! CEL rules as the API server evaluates them: `self` is the value where the rule stands, and a field whose name CEL reserves is written `__name__`.

use std::sync::LazyLock;

use cel::common::traits::Indexer;
use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelNull, CelString, MAP_TYPE, Type};
use cel::common::value::{CowVal, Val};
use cel::{Context, ExecutionError, Program};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;
use serde_json::{Map, Value};

/// A rule, compiled.
#[derive(Debug)]
pub(super) struct Rule {
    program: Program,
    message: String,
    field_path: String,
}

impl Rule {
    /// # Panics
    /// When the rule does not compile.
    pub(super) fn compile(rule: &ValidationRule) -> Self {
        Self {
            program: Program::compile(&rule.rule).expect("a rule of the schema compiles"),
            message: rule
                .message
                .clone()
                .unwrap_or_else(|| format!("must satisfy {}", rule.rule)),
            field_path: rule.field_path.clone().unwrap_or_default(),
        }
    }

    /// Where a failure is reported, relative to the value: `.field`, or nothing.
    pub(super) fn field_path(&self) -> &str {
        &self.field_path
    }

    /// Evaluates the rule for a value whose schema is otherwise satisfied.
    ///
    /// # Errors
    /// The rule's message, or why it could not be evaluated.
    pub(super) fn holds(&self, value: &Value) -> Result<(), String> {
        let mut scope = STANDARD.new_inner_scope();
        scope.add_variable_as_val("self", view(value));
        match self.program.execute(&scope) {
            Ok(cel::Value::Bool(true)) => Ok(()),
            Ok(_) => Err(self.message.clone()),
            Err(error) => Err(format!(
                "{} (the rule could not be evaluated: {error})",
                self.message
            )),
        }
    }
}

/// CEL's own functions; the rules use none of Kubernetes' extensions.
static STANDARD: LazyLock<Context<'static, 'static>> = LazyLock::new(Context::default);

/// JSON as CEL sees it. Strings are borrowed, and an object is looked into only where a rule asks.
fn view<'v>(value: &'v Value) -> Box<dyn Val + 'v> {
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(value) => Box::new(CelBool::from(*value)),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => Box::new(CelInt::from(integer)),
            None => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        Value::String(text) => Box::new(CelString::from(text.as_str())),
        Value::Array(items) => Box::new(CelList::from(items.iter().map(view).collect::<Vec<_>>())),
        Value::Object(fields) => Box::new(Fields(fields)),
    }
}

#[derive(Clone, Copy, Debug)]
struct Fields<'a>(&'a Map<String, Value>);

impl Val for Fields<'_> {
    fn get_type(&self) -> &Type {
        Self::cel_type()
    }

    fn cel_type() -> &'static Type {
        &MAP_TYPE
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(*self)
    }
}

impl Indexer for Fields<'_> {
    fn get<'b, 'v>(&'b self, field: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let name = field.downcast_ref::<CelString>().map_or("", |name| name.inner());
        let name = name
            .strip_prefix("__")
            .and_then(|name| name.strip_suffix("__"))
            .unwrap_or(name);
        match self.0.get(name) {
            Some(value) => Ok(CowVal::Owned(view(value))),
            None => Err(ExecutionError::no_such_key(name)),
        }
    }

    fn steal<'v>(self: Box<Self>, field: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(field).map(CowVal::into_owned)
    }
}
