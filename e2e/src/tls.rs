//! TLS before a gateway: certificates of the test's own, and the clients' end of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Result;
use data_encoding::BASE64;
use rcgen::generate_simple_self_signed;
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::manifests::NAMESPACE;

/// A certificate that signs itself, and its key.
#[derive(Debug)]
pub struct Certificate {
    host: String,
    chain: String,
    key: String,
    der: CertificateDer<'static>,
}

impl Certificate {
    /// A new one of this host.
    ///
    /// # Errors
    /// When it is no host.
    pub fn new(host: &str) -> Result<Self> {
        let made = generate_simple_self_signed([host.to_owned()])?;
        Ok(Self {
            host: host.to_owned(),
            chain: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
            der: made.cert.der().clone(),
        })
    }

    /// Whose it is.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The Secret of this name that holds it.
    pub fn secret(&self, name: &str) -> Value {
        let text = |pem: &String| BASE64.encode(pem.as_bytes());
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "data": {
                "tls.crt": text(&self.chain),
                "tls.key": text(&self.key),
            },
        })
    }

    /// A port where clients without TLS come to the gateway with it, by HTTP/1.1 and as long as this is the certificate that it shows.
    ///
    /// # Errors
    /// When nothing can listen.
    pub async fn door(&self, gateway: SocketAddr) -> Result<Door> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone())?;
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        let host = ServerName::try_from(self.host.clone())?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let clients = tokio::spawn(async move {
            let mut passing = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let (connector, host) = (connector.clone(), host.clone());
                passing.spawn(async move {
                    let gateway = TcpStream::connect(gateway).await?;
                    let mut gateway = connector.connect(host, gateway).await?;
                    copy_bidirectional(&mut client, &mut gateway).await
                });
            }
        });
        Ok(Door { address, clients })
    }
}

/// Where clients enter. Their connections end with it.
#[derive(Debug)]
pub struct Door {
    /// Its address.
    pub address: SocketAddr,
    clients: JoinHandle<()>,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.clients.abort();
    }
}
