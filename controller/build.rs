//! Builds the filter's module, so that `cargo build` alone makes a `clew` that has it inside.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the module is made for.
const TARGET: &str = "wasm32-wasip1";

/// What the module is made of, relative to the workspace.
const SOURCES: [&str; 7] = [
    "wasm-filter/Cargo.toml",
    "wasm-filter/src",
    "wasm-filter/core/Cargo.toml",
    "wasm-filter/core/src",
    "wasm-filter/config",
    "Cargo.toml",
    "Cargo.lock",
];

fn main() {
    let variable = |name: &str| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let workspace = Path::new(&variable("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .expect("the workspace is there");
    let out = PathBuf::from(variable("OUT_DIR"));
    for source in SOURCES {
        // Relative to the package: a build folder that was copied would go on looking at the sources that it came from.
        println!("cargo::rerun-if-changed=../{source}");
    }

    have_target();

    // A folder of its own: the outer cargo holds the lock of the common one while it waits for us.
    let target = out.join("wasm");
    let home =
        env::var("CARGO_HOME").unwrap_or_else(|_| format!("{}/.cargo", env::var("HOME").unwrap_or_default()));
    // Panic messages hold the paths of sources: without these two, the same sources would give other bytes elsewhere.
    let flags = [
        format!("--remap-path-prefix={}=/clew", workspace.display()),
        format!("--remap-path-prefix={home}/registry/src=/crates"),
        // SHA-256 in loops: a quarter of the size, for a few blocks a handshake.
        "--cfg=sha2_backend=\"soft\"".to_owned(),
        "--cfg=sha2_backend_soft=\"compact\"".to_owned(),
    ];
    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .current_dir(&workspace)
        .args(["build", "--package", "clew-filter", "--lib", "--profile", "wasm"])
        .args(["--target", TARGET, "--locked", "--target-dir"])
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    // What is set for the natives (flags, wrappers such as clippy's, profiles) is not meant for the module.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let meant_for_natives = [
            "RUSTFLAGS",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_TARGET",
            "CARGO_MAKEFLAGS",
        ]
        .contains(&&*text)
            || [
                "CARGO_PROFILE_",
                "CARGO_TARGET_",
                "CARGO_BUILD_",
                "CARGO_CFG_",
                "CARGO_FEATURE_",
            ]
            .iter()
            .any(|start| text.starts_with(start));
        if meant_for_natives {
            cargo.env_remove(&name);
        }
    }
    let status = cargo.status().expect("cargo can be run");
    assert!(
        status.success(),
        "the filter's module cannot be built; its target comes with `rustup target add {TARGET}`"
    );
    let module = target.join(TARGET).join("wasm/clew_filter.wasm");
    println!("cargo::rustc-env=CLEW_FILTER={}", module.display());
}

/// Installs what `rust-toolchain.toml` asks for where rustup was told not to by itself (`RUSTUP_AUTO_INSTALL=0`).
fn have_target() {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let place = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output();
    let there = place.is_ok_and(|place| Path::new(String::from_utf8_lossy(&place.stdout).trim()).is_dir());
    if !there {
        // Without rustup, or without a network, the build of the module says what is missing.
        let _ = Command::new("rustup").args(["target", "add", TARGET]).status();
    }
}
