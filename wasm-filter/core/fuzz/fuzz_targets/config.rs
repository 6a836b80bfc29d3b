//! Whatever the channel or the plugin's configuration says, a worker takes it over or leaves it, and goes on placing.
//!
//! Input: the plugin's configuration, a line's end, then an update in each further line.
#![no_main]

use std::cell::RefCell;
use std::collections::HashMap;

use clew_filter_config::channel::{News, Update};
use clew_filter_config::plugin::PluginConfig;
use clew_filter_config::route_name::RouteName;
use clew_filter_config::rule::Backend;
use clew_filter_core::placement::Seed;
use clew_filter_core::store::{self, Index, Names};
use clew_filter_core::world::World;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut lines = input.split(|&byte| byte == b'\n');
    let plugin: Option<PluginConfig> = lines.next().and_then(store::parse);
    let names = Names::new(plugin.as_ref().map_or("shop/edge", |plugin| &plugin.gateway));
    let shared: RefCell<HashMap<String, Vec<u8>>> = RefCell::default();
    let read = |name: &str| shared.borrow().get(name).cloned();
    let mut world = World::new(names.clone());
    for line in lines {
        let Ok(news) = News::parse(line) else {
            // An entry that somebody else wrote.
            shared.borrow_mut().insert(names.head(), line.to_vec());
            world.refresh(read);
            continue;
        };
        if Some(&*news.version) == world.version() {
            continue;
        }
        let index = read(&names.index()).and_then(|bytes| store::parse::<Index>(&bytes));
        for write in store::writes(&names, news, index.unwrap_or_default()) {
            shared.borrow_mut().insert(write.name, write.bytes);
        }
        world.refresh(read);
        let _ = world.draining_pods().count();
        // The rest is of what this module can read, all of it.
        let Some(update) = store::parse::<Update>(line) else {
            continue;
        };
        // What is said is what is read, to the word.
        let again = serde_json::to_vec(&update).expect("it was read");
        assert_eq!(store::parse::<Update>(&again).as_ref(), Some(&update));
        let placeable = Seed::parse(&update.seed).is_some();
        assert_eq!(world.version() == Some(&*update.version), placeable);
        if !placeable {
            continue;
        }
        for (id, rule) in &update.rules {
            let config = rule.as_ref().map_or("00000000", |rule| &rule.config);
            let laid = world.rule(RouteName { rule: id, config }, read);
            assert_eq!(laid.map(|laid| laid.rule.clone()).as_ref(), rule.as_ref());
        }
        for (id, backend) in &update.backends {
            let laid = world.backend(id, read);
            let pods = |backend: &Backend| backend.pods.len();
            assert_eq!(laid.map(|laid| laid.pods.len()), backend.as_ref().map(pods));
        }
        assert_eq!(world.draining(), update.draining);
    }
});
