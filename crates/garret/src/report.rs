//! The report: what a repository holds, what it costs and what is wrong, gathered once and shown in four ways.
//!
//! ```text
//! gather -> model::Report -> text | json | html | growth::svg
//! ```
//!
//! In: an open repository, and rules of `prune`. Out: a table, a JSON document, one page, or one drawing. Promises: all show
//! the same numbers; no contents are read, only lists, recipes, layouts and the index; page and drawing have no script and
//! load nothing; whatever names are like, they are shown and are nothing else.

pub(crate) mod calendar;
pub(crate) mod cards;
pub(crate) mod gather;
pub(crate) mod growth;
pub(crate) mod html;
pub(crate) mod json;
pub(crate) mod lamp;
pub(crate) mod map;
pub(crate) mod markup;
pub(crate) mod model;
pub(crate) mod svg;
pub(crate) mod text;
