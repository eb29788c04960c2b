//! Plugins as files: loaded, tried, swapped, refused, left behind.

mod built_otherwise;
mod example_plugin;
mod leftovers;
mod live_faults;
mod live_swaps;
mod loader;
mod new_plugin;
mod swap;
mod trial;
