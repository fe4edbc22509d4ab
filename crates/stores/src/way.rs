//! Which service a place is reached by.

use std::sync::Arc;

use garret_core::StoreError;

use crate::bucket::BucketService;
use crate::paces::Paces;
use crate::place::Place;
use crate::service::Service;
use crate::sftp::SftpService;

/// The way to `place`; nothing is asked yet.
///
/// # Errors
/// There can be none, for want of threads or because of the endpoint.
pub(crate) fn way_to(place: Place, paces: Arc<Paces>) -> Result<Box<dyn Service>, StoreError> {
    Ok(match place {
        Place::Bucket(bucket) => Box::new(BucketService::new(bucket, paces)?),
        Place::Sftp(sftp) => Box::new(SftpService::new(sftp, paces)?),
    })
}
