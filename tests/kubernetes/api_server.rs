//! The API server stand-in alone, for experiments: `cargo run -p tests --features cluster --bin api-server -- FILE`
//! writes a kubeconfig to FILE and serves until it is ended.

use tests::kubernetes::ApiServer;

fn main() -> std::io::Result<()> {
    let Some(path) = std::env::args().nth(1) else {
        return Err(std::io::Error::other("name the file for the kubeconfig"));
    };
    let server = ApiServer::start();
    std::fs::write(path, server.kubeconfig_text())?;
    loop {
        std::thread::park();
    }
}
