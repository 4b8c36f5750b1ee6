//! A bucket in memory that speaks as much of S3 as the probe of a store uses.
//!
//! It checks no signature. It enforces `If-None-Match: *` and `If-Match`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::http::{Message, PendingRequest};
use super::prepare;

/// Objects by encoded path, each with the number of its put.
#[derive(Default)]
struct Bucket {
    objects: BTreeMap<String, (u64, Vec<u8>)>,
    puts: u64,
}

/// Starts a server of one bucket, which ends with this process.
pub(crate) fn start_bucket() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let bucket = Arc::new(Mutex::new(Bucket::default()));
    thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            let bucket = Arc::clone(&bucket);
            thread::spawn(move || {
                // An error means that the client has closed the connection.
                let _ = serve(&bucket, &client);
            });
        }
    });
    address
}

fn serve(bucket: &Mutex<Bucket>, mut client: &TcpStream) -> io::Result<()> {
    prepare(client)?;
    while let Some(pending) = PendingRequest::next(client)? {
        let request = pending.finish(client)?;
        let answer = bucket.lock().unwrap().answer(&request);
        client.write_all(&answer.encode(None))?;
        if request.ends_connection() {
            return Ok(());
        }
    }
    Ok(())
}

impl Bucket {
    fn answer(&mut self, request: &Message) -> Message {
        let (method, target) = (request.head.method(), request.head.target());
        let path = target.split('?').next().unwrap_or_default();
        let etag = |put: u64| ("ETag", format!("\"{put}\""));
        let refuse = |status, code: &str| {
            let body = format!("<Error><Code>{code}</Code></Error>");
            Message::answer(method, status, &[], body.as_bytes())
        };
        let found = self.objects.get(path);
        match method {
            "PUT" => {
                let is_refused = match (request.head.header("if-match"), found) {
                    (Some(wanted), Some((put, _))) => wanted != etag(*put).1,
                    (Some(_), None) => true,
                    (None, found) => {
                        found.is_some() && request.head.header("if-none-match").is_some()
                    }
                };
                if is_refused {
                    return refuse(412, "PreconditionFailed");
                }
                self.puts += 1;
                self.objects.insert(path.to_owned(), (self.puts, request.body.clone()));
                Message::answer(method, 200, &[etag(self.puts)], b"")
            }
            "GET" => match found {
                Some((put, body)) => {
                    let modified = ("Last-Modified", "Tue, 01 Dec 2026 12:00:00 GMT".to_owned());
                    Message::answer(method, 200, &[etag(*put), modified], body)
                }
                None => refuse(404, "NoSuchKey"),
            },
            "POST" => {
                let text = String::from_utf8_lossy(&request.body).into_owned();
                let mut body = "<DeleteResult>".to_owned();
                for key in text.split("<Key>").skip(1).filter_map(|rest| rest.split('<').next()) {
                    self.objects.retain(|path, _| !path.ends_with(key));
                    write!(body, "<Deleted><Key>{key}</Key></Deleted>").expect("text grows");
                }
                body.push_str("</DeleteResult>");
                Message::answer(method, 200, &[], body.as_bytes())
            }
            _ => refuse(501, "NotImplemented"),
        }
    }
}
