//! What a store that stands before another passes on as it is: a decorator writes only the methods that it is about.
//!
//! In: the field that holds the other store, and names of methods. Out: those methods, as items of `impl Store`.

/// Methods of `garret_core::Store` that are those of the store in field `$inner`.
///
/// ```ignore
/// impl Store for Counting {
///     garret_testkit::through!(inner: put, put_new, get, len, list, delete, adopt, sweep, lock, pass_over);
///     garret_testkit::through!(inner: doubtful, has_sessions, notices, place);
///     fn sync(&self) -> Result<(), StoreError> { .. }
/// }
/// ```
#[macro_export]
macro_rules! through {
    ($inner:ident: $($method:ident),+) => { $($crate::through!(@$method $inner);)+ };
    (@put $inner:ident) => {
        fn put(&self, key: &::garret_core::Key, parts: &[&[u8]]) -> Result<(), ::garret_core::StoreError> {
            self.$inner.put(key, parts)
        }
    };
    (@put_new $inner:ident) => {
        fn put_new(&self, key: &::garret_core::Key, bytes: &[u8]) -> Result<(), ::garret_core::StoreError> {
            self.$inner.put_new(key, bytes)
        }
    };
    (@get $inner:ident) => {
        fn get(
            &self,
            key: &::garret_core::Key,
            range: std::ops::Range<u64>,
        ) -> Result<Vec<u8>, ::garret_core::StoreError> {
            self.$inner.get(key, range)
        }
    };
    (@get_whole $inner:ident) => {
        fn get_whole(&self, key: &::garret_core::Key, max: u64) -> Result<Vec<u8>, ::garret_core::StoreError> {
            self.$inner.get_whole(key, max)
        }
    };
    (@len $inner:ident) => {
        fn len(&self, key: &::garret_core::Key) -> Result<u64, ::garret_core::StoreError> {
            self.$inner.len(key)
        }
    };
    (@list $inner:ident) => {
        fn list(&self, area: ::garret_core::Area) -> Result<Vec<(::garret_core::Key, u64)>, ::garret_core::StoreError> {
            self.$inner.list(area)
        }
    };
    (@delete $inner:ident) => {
        fn delete(&self, key: &::garret_core::Key) -> Result<(), ::garret_core::StoreError> {
            self.$inner.delete(key)
        }
    };
    (@adopt $inner:ident) => {
        fn adopt(&self, key: &::garret_core::Key) -> Result<(), ::garret_core::StoreError> {
            self.$inner.adopt(key)
        }
    };
    (@sync $inner:ident) => {
        fn sync(&self) -> Result<(), ::garret_core::StoreError> {
            self.$inner.sync()
        }
    };
    (@sweep $inner:ident) => {
        fn sweep(&self) -> Result<(), ::garret_core::StoreError> {
            self.$inner.sweep()
        }
    };
    (@lock $inner:ident) => {
        fn lock(
            &self,
            mode: ::garret_core::LockMode,
            patience: std::time::Duration,
            waiting: &mut dyn FnMut(&str),
        ) -> Result<Box<dyn ::garret_core::Guard>, ::garret_core::StoreError> {
            self.$inner.lock(mode, patience, waiting)
        }
    };
    (@has_sessions $inner:ident) => {
        fn has_sessions(
            &self,
            epochs: std::ops::RangeInclusive<u64>,
        ) -> Result<bool, ::garret_core::StoreError> {
            self.$inner.has_sessions(epochs)
        }
    };
    (@doubtful $inner:ident) => {
        fn doubtful(&self) -> Result<Vec<String>, ::garret_core::StoreError> {
            self.$inner.doubtful()
        }
    };
    (@pass_over $inner:ident) => {
        fn pass_over(&self, key: &::garret_core::Key) {
            self.$inner.pass_over(key);
        }
    };
    (@notices $inner:ident) => {
        fn notices(&self) -> Vec<String> {
            self.$inner.notices()
        }
    };
    (@place $inner:ident) => {
        fn place(&self) -> String {
            self.$inner.place()
        }
    };
}
