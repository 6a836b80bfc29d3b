//! `include`: what it names stands where it stands, as often as that is (ngx_core_module). And the dump of `nginx -T`, which has all files in one.

use std::collections::BTreeSet;

use super::super::Input;
use super::super::ledger::Ledger;
use super::Directive;

/// What NGINX writes before each file.
const MARK: &str = "# configuration file ";
/// Files that include files.
const MAX_DEPTH: usize = 16;
/// The most directives that a configuration comes to; more are left where they were given.
const MOST: usize = 100_000;

/// The files of a dump, by their own names; any other file is itself.
pub(in super::super) fn undump(input: &Input) -> Vec<Input> {
    let mut files = vec![Input {
        file: input.file.clone(),
        text: String::new(),
    }];
    for line in input.text.split_inclusive('\n') {
        let named = line
            .strip_prefix(MARK)
            .and_then(|rest| rest.trim_end().strip_suffix(':'))
            .filter(|file| file.starts_with('/'));
        match (named, files.last_mut()) {
            (Some(file), _) => files.push(Input {
                file: file.into(),
                text: String::new(),
            }),
            (None, Some(file)) => file.text.push_str(line),
            (None, None) => {}
        }
    }
    if files.len() > 1 {
        // Before the first one NGINX says that it likes them.
        let says_something = |file: &Input| {
            let mut lines = file.text.lines().map(str::trim);
            lines.any(|line| !line.is_empty() && !line.starts_with("nginx: "))
        };
        files.retain(says_something);
    }
    files
}

/// One configuration of several files. What no file includes stands beside the first.
pub(super) fn resolve(files: &[Vec<Directive>], ledger: &Ledger) -> Vec<Directive> {
    let mut reading = Reading {
        files,
        ledger,
        included: BTreeSet::new(),
        left: MOST,
    };
    let read: Vec<_> = files.iter().map(|file| reading.all(file, 0)).collect();
    let included = reading.included;
    let roots: Vec<_> = (0..files.len()).filter(|i| !included.contains(i)).collect();
    if roots.is_empty() {
        // They include one another in a circle, which NGINX does not read.
        return files.iter().flatten().cloned().collect();
    }
    let is_root = |i: &usize| roots.contains(i);
    let beside = read.into_iter().enumerate().filter(|(i, _)| is_root(i));
    beside.flat_map(|(_, directives)| directives).collect()
}

struct Reading<'a> {
    files: &'a [Vec<Directive>],
    ledger: &'a Ledger,
    /// Files that stand in others.
    included: BTreeSet<usize>,
    left: usize,
}

impl Reading<'_> {
    fn all(&mut self, directives: &[Directive], depth: usize) -> Vec<Directive> {
        let mut all = Vec::new();
        for one in directives {
            self.left = self.left.saturating_sub(1);
            all.push(Directive {
                id: one.id,
                name: one.name.clone(),
                arguments: one.arguments.clone(),
                block: one.block.as_ref().map(|block| self.all(block, depth)),
            });
            if one.name != "include" || depth >= MAX_DEPTH {
                continue;
            }
            for i in self.meant(one) {
                let file = self.files.get(i).filter(|file| file.len() <= self.left);
                if let Some(file) = file {
                    self.included.insert(i);
                    all.extend(self.all(file, depth + 1));
                }
            }
        }
        all
    }

    /// The files that an `include` names, in the order of their names.
    fn meant(&self, include: &Directive) -> Vec<usize> {
        let called = |i: &usize| {
            let first = self.files.get(*i)?.first()?;
            self.ledger.file(first.id)
        };
        let is_meant =
            |i: &usize| called(i).is_some_and(|file| self.ledger.means(include.id, include.first(), file));
        let mut meant: Vec<_> = (0..self.files.len()).filter(is_meant).collect();
        meant.sort_by_key(|i| called(i).unwrap_or_default());
        meant
    }
}

#[cfg(test)]
mod tests {
    use super::{Input, undump};
    use crate::migrate::{Format, Migrated, Outcome, migrate};

    const SNIPPET: &str = "proxy_http_version 1.1;\nproxy_set_header Upgrade $http_upgrade;\n";
    const SITE: &str = "server {\n  listen 80;\n  server_name chat.example.com;\n  location /ws {\n    include snippets/ws.conf;\n    proxy_pass http://chat;\n  }\n  location / {\n    proxy_pass http://chat;\n  }\n}\n";
    const MAIN: &str = "http {\n  upstream chat { server 10.0.0.1:80; server 10.0.0.2:80; }\n  include /etc/nginx/sites-enabled/*;\n}\n";

    fn input(file: &str, text: &str) -> Input {
        Input {
            file: file.into(),
            text: text.to_owned(),
        }
    }

    fn of(inputs: &[Input]) -> Migrated {
        migrate(Format::Nginx, inputs, false).unwrap()
    }

    fn files() -> [Input; 3] {
        [
            input("/etc/nginx/nginx.conf", MAIN),
            input("/etc/nginx/sites-enabled/chat", SITE),
            input("/etc/nginx/snippets/ws.conf", SNIPPET),
        ]
    }

    #[test]
    fn what_a_location_includes_holds_there_and_nowhere_else() {
        let migrated = of(&files());
        let paths: Vec<_> = migrated
            .manifests
            .lines()
            .filter(|line| line.contains("value: /"))
            .collect();
        assert_eq!(paths.len(), 1, "{}", migrated.manifests);
        assert!(paths[0].contains("value: /ws"), "{paths:?}");
        let unread = migrated.report.iter().filter(|one| one.note.contains("not read"));
        assert_eq!(unread.count(), 0, "{:#?}", migrated.report);
        let lost = of(&files()[..2]);
        assert!(lost.manifests.is_empty());
        let named = |one: &&crate::migrate::Entry| {
            one.directive.contains("snippets/ws.conf")
                && one.outcome == Outcome::Cannot
                && one.note.contains("not read")
        };
        assert_eq!(lost.report.iter().filter(named).count(), 1, "{:#?}", lost.report);
        let mut beside = files();
        beside[1].text = SITE.replace("location / {", &format!("location /b {{ {SNIPPET}"));
        let beside = of(&beside[..2]);
        assert!(beside.manifests.contains("value: /b"), "{}", beside.manifests);
        assert_eq!(
            beside.report.iter().filter(named).count(),
            1,
            "{:#?}",
            beside.report
        );
    }

    #[test]
    fn a_dump_is_its_files_with_their_names_and_lines() {
        let mut dump = String::from("nginx: the configuration file /etc/nginx/nginx.conf syntax is ok\n");
        for file in files() {
            dump.push_str(&format!("# configuration file {}:\n{}\n", file.file, file.text));
        }
        let split = undump(&input("nginx.txt", &dump));
        let names: Vec<_> = split.iter().map(|file| &*file.file).collect();
        assert_eq!(
            names,
            [
                "/etc/nginx/nginx.conf",
                "/etc/nginx/sites-enabled/chat",
                "/etc/nginx/snippets/ws.conf"
            ]
        );
        let (dumped, given) = (of(&[input("nginx.txt", &dump)]), of(&files()));
        assert_eq!(dumped.report, given.report);
        let routes = |migrated: &Migrated| -> Vec<String> {
            let lines = migrated.manifests.lines().filter(|line| !line.starts_with('#'));
            lines.map(str::to_owned).collect()
        };
        assert_eq!(routes(&dumped), routes(&given));
        let plain = input("nginx.conf", "http {\n# configuration file for the chat:\n}\n");
        assert_eq!(undump(&plain)[0].text, plain.text);
    }

    #[test]
    fn files_that_include_one_another_come_to_an_end() {
        let circle = [input("a", "include b;\n"), input("b", "include a; include a;\n")];
        of(&circle);
        let wide: Vec<_> = (0..40)
            .map(|n| input(&format!("f{n}"), &format!("include f{0}; include f{0};\n", n + 1)))
            .collect();
        of(&wide);
    }
}
