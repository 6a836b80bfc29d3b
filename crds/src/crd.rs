use kube::CustomResourceExt;

/// The CustomResourceDefinition of a kind as YAML: equal types give equal bytes, whatever else is built along.
#[must_use]
pub fn crd_yaml<K: CustomResourceExt>() -> String {
    let mut crd = serde_json::to_value(K::crd()).expect("a CustomResourceDefinition is JSON");
    // serde_json keeps the order of insertion when any crate of the build asks it to.
    crd.sort_all_objects();
    let yaml = serde_saphyr::to_string(&crd).expect("JSON is YAML");
    format!("# Printed by `clew crd` from the types in crds/src; do not edit.\n{yaml}")
}
