//! The check sees what it must, in modules that the real compiler makes.

use std::path::Path;
use std::process::Command;

use super::compare;

/// A module whose one function has this body.
fn module(body: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("body.rs");
    let text =
        format!("#[unsafe(no_mangle)] pub extern \"C\" fn run(n: u32, list: &[u32]) -> u32 {{ {body} }}");
    std::fs::write(&source, text).expect("it is written");
    let output = folder.path().join("module.wasm");
    let compiled = Command::new("rustc")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["--edition=2024", "--crate-type=cdylib", "--target=wasm32-wasip1"])
        .args(["-Copt-level=s", "-Cpanic=abort", "-Cstrip=symbols", "-o"])
        .arg(&output)
        .arg(&source)
        .status()
        .expect("rustc runs");
    assert!(compiled.success(), "{body}");
    std::fs::read(&output).expect("the module")
}

#[test]
fn an_added_unwrap_index_or_sum_is_a_new_path() {
    let list = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../panics.txt"))
        .expect("the reviewed list");
    // The library's own differ: this module is linked otherwise than the filter's.
    let new = |body: &str| {
        let new = compare(&module(body), &list).expect("a module").new;
        new.into_iter()
            .filter(|place| place.contains("body.rs:1:"))
            .count()
    };
    for panics in [
        "n.checked_add(1).unwrap()",
        "list[n as usize]",
        "7 / n",
        "Vec::from(list).remove(n as usize)",
    ] {
        assert_eq!(new(panics), 1, "{panics}");
    }
    // The control: the same without.
    for total in [
        "n.checked_add(1).unwrap_or(n)",
        "list.get(n as usize).copied().unwrap_or(n)",
        "7_u32.checked_div(n).unwrap_or(n)",
        "Vec::from(list).pop().unwrap_or(n)",
    ] {
        assert_eq!(new(total), 0, "{total}");
    }
}

#[test]
fn a_place_needs_a_reason() {
    assert!(super::reviewed("# Never.\na.rs:1:2\n").is_ok());
    assert!(super::reviewed("# Never.\na.rs:1:2\n\nb.rs:1:2\n").is_err());
}
