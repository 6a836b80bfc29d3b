//! Gateway API's GatewayClass.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

/// `gateway.networking.k8s.io`, kind `GatewayClass`: who serves the Gateways of a class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GatewayClass {
    /// Its name is the class.
    pub metadata: ObjectMeta,
    /// Who.
    pub spec: GatewayClassSpec,
}

/// Who serves the Gateways of a class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayClassSpec {
    /// The controller's name for itself.
    pub controller_name: String,
}
