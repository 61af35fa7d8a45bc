//! `serin container`: what Serin does as a replica, in a process of its own or in a container.

mod training;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::exit::Exit;
use crate::replica::{self, Listen, MODEL_FOLDER, PORT};

#[derive(Debug, Clone, Subcommand)]
pub enum ContainerCommand {
    /// Answer /ping and /invocations with the one bundle of a folder, as SageMaker's serving containers do
    Serve(ServeArgs),
    /// Train as SageMaker's training containers do: from /opt/ml/input, into /opt/ml/model
    Train(TrainArgs),
}

#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// The folder with the bundle
    #[arg(long, value_name = "FOLDER", default_value = MODEL_FOLDER, value_hint = clap::ValueHint::DirPath)]
    pub model_folder: PathBuf,
    /// Listen on a Unix socket
    #[arg(long, value_name = "PATH", conflicts_with = "listen")]
    pub socket: Option<PathBuf>,
    /// Address and port [default: port SAGEMAKER_BIND_TO_PORT or 8080 of every address of the container]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<std::net::SocketAddr>,
    /// Threads that answer
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub threads: usize,
}

#[derive(Debug, Clone, Args)]
pub struct TrainArgs {
    /// The folder of the contract
    #[arg(long, value_name = "FOLDER", default_value = "/opt/ml", value_hint = clap::ValueHint::DirPath)]
    pub root: PathBuf,
}

/// Does it.
pub fn run(command: &ContainerCommand) -> anyhow::Result<Exit> {
    match command {
        ContainerCommand::Serve(args) => serve(args),
        ContainerCommand::Train(args) => training::run(&args.root),
    }
}

fn serve(args: &ServeArgs) -> anyhow::Result<Exit> {
    let model = replica::model(&args.model_folder)?;
    let listen = match (&args.socket, args.listen) {
        (Some(socket), _) => Listen::Unix(socket.clone()),
        (None, Some(address)) => Listen::Tcp(address),
        (None, None) => Listen::Tcp(([0, 0, 0, 0], port()?).into()),
    };
    let mut runtime = match args.threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        threads => {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            runtime.worker_threads(threads);
            runtime
        }
    };
    runtime.enable_all().build()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (stops, stop) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            let _ = stops.send(true);
        });
        replica::serve(model, &listen, stop).await?;
        Ok(Exit::Done)
    })
}

/// The port that SageMaker's containers listen on, or the one that they are told.
fn port() -> anyhow::Result<u16> {
    match std::env::var("SAGEMAKER_BIND_TO_PORT") {
        Ok(port) => port.parse().with_context(|| format!("SAGEMAKER_BIND_TO_PORT={port}: is no port")),
        Err(_) => Ok(PORT),
    }
}
