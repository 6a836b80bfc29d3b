use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use clew_core::explain::{Explanation, Request, explain};

use super::output::Format;
use super::subject::{Known, Subject};
use crate::clock;
use crate::failure::{Failure, REFUSED};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Request line, such as 'GET /ws?room=7'
    #[arg(long, value_name = "METHOD TARGET")]
    request: String,
    /// Header of the request; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Address of the client
    #[arg(long, value_name = "IP:PORT", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))]
    peer: SocketAddr,
    /// Listener that it comes to [default: the first that has a route for it]
    #[arg(long, value_name = "IP:PORT")]
    listener: Option<SocketAddr>,
    /// How the answer is printed [default: table on a terminal, else json]
    #[arg(short, long, value_enum)]
    output: Option<Format>,
    #[command(flatten)]
    subject: Subject,
}

pub(super) fn main(args: &Args) -> Result<ExitCode, Failure> {
    let request = request(args)?;
    let Known {
        validated,
        drains,
        secrets,
    } = args.subject.look()?;
    let answer = explain(&validated.world, &drains, &request, &secrets, clock::unix_ms());
    Format::for_whoever_reads(args.output).print(&answer, || lines(&answer))?;
    Ok(if answer.rule.is_some() {
        ExitCode::SUCCESS
    } else {
        REFUSED.into()
    })
}

fn request(args: &Args) -> Result<Request, Failure> {
    let mut words = args.request.split_ascii_whitespace();
    let target = match (words.next(), words.next(), words.next(), words.next()) {
        (Some("GET" | "CONNECT"), Some(target), None | Some("HTTP/1.1" | "HTTP/2"), None)
            if target.starts_with('/') =>
        {
            target
        }
        _ => {
            return Err(Failure::usage(format!(
                "--request {:?} is not a WebSocket's request line: write 'GET /path?query'",
                args.request
            )));
        }
    };
    let headers = args.headers.iter().map(|header| {
        let (name, value) = header
            .split_once(':')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| {
                Failure::usage(format!(
                    "--header {header:?} is not a header: write 'name: value'"
                ))
            })?;
        Ok((
            name.trim().to_ascii_lowercase(),
            value.trim().as_bytes().to_owned(),
        ))
    });
    Ok(Request {
        target: target.to_owned(),
        headers: headers.collect::<Result<_, Failure>>()?,
        peer: args.peer,
        listener: args.listener,
    })
}

fn lines(answer: &Explanation) -> String {
    let nothing = || "–".to_owned();
    let key = answer
        .key
        .as_ref()
        .map_or_else(nothing, |key| format!("{} (hash {})", key.source, key.hash));
    let pod = answer.backend.as_ref().map_or_else(nothing, |pod| {
        format!("{} at {}, of {}", pod.name, pod.address, pod.service)
    });
    format!(
        "rule     {}\nkey      {key}\nbackend  {pod}\nwhy      {}\n",
        answer.rule.clone().unwrap_or_else(nothing),
        answer.why
    )
}
