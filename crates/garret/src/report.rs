//! The report: what a repository holds, what it costs and what is wrong, gathered once and shown in three ways.
//!
//! ```text
//! gather -> model::Report -> text | json | html
//! ```
//!
//! In: an open repository, and rules of `prune`. Out: a table, a JSON document, or one page. Promises: all three show the
//! same numbers; no contents are read, only lists, recipes, layouts and the index; the page has no script and loads nothing;
//! whatever names are like, they are shown and are nothing else.

pub(crate) mod calendar;
pub(crate) mod cards;
pub(crate) mod gather;
pub(crate) mod html;
pub(crate) mod json;
pub(crate) mod lamp;
pub(crate) mod map;
pub(crate) mod markup;
pub(crate) mod model;
pub(crate) mod svg;
pub(crate) mod text;
