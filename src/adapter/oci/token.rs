use super::*;
use crate::http::query::Query;
pub(super) async fn get(_cx: Cx<'_>, _query: &Query) -> Result<Reply> { Err(Error::new(Kind::Unsupported, "")) }
pub(super) async fn post(_cx: Cx<'_>, _body: Body) -> Result<Reply> { Err(Error::new(Kind::Unsupported, "")) }
