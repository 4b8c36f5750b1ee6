//! HTTP/1.1 messages, read whole from a socket and written again.
//!
//! A head keeps every byte in its order, because a signature may cover the bytes. A body is kept
//! decoded, and a chunked body is written as a single chunk. Every read has a limit in bytes, and
//! the sockets have a timeout.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::net::TcpStream;

const HEAD_BYTES_MAX: u64 = 64 << 10;
const BODY_BYTES_MAX: u64 = 1 << 30;
const HEAD_END: &[u8] = b"\r\n\r\n";

/// The lines up to the empty line, as Latin-1: one character for each byte.
#[derive(Clone, Debug)]
pub(crate) struct Head(String);

impl Head {
    fn new(bytes: &[u8]) -> Self {
        Self(bytes.iter().copied().map(char::from).collect())
    }

    /// Returns the method of a request.
    pub(crate) fn method(&self) -> &str {
        self.word(0)
    }

    /// Returns the encoded path and query of a request.
    pub(crate) fn target(&self) -> &str {
        self.word(1)
    }

    /// Returns the status of an answer.
    pub(crate) fn status(&self) -> Option<u16> {
        self.word(1).parse().ok()
    }

    fn word(&self, nth: usize) -> &str {
        self.0.lines().next().and_then(|line| line.split(' ').nth(nth)).unwrap_or_default()
    }

    /// Returns the first value of this header; the name is case insensitive.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.0.lines().skip(1).filter_map(|line| line.split_once(':'));
        headers.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    fn has_header(&self, name: &str, word: &str) -> bool {
        self.header(name).is_some_and(|value| value.to_ascii_lowercase().contains(word))
    }

    /// Returns the framing of the body, if the headers state it.
    fn framing(&self) -> io::Result<Option<Framing>> {
        if self.has_header("transfer-encoding", "chunked") {
            return Ok(Some(Framing::Chunked));
        }
        let length = self.header("content-length").map(str::parse).transpose();
        Ok(length.map_err(|_| ErrorKind::InvalidData)?.map(Framing::Length))
    }

    /// Replaces all headers of this name.
    pub(crate) fn replace(&mut self, name: &str, value: &str) {
        let other = |line: &&str| {
            !line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name))
        };
        self.0 = self.0.split_inclusive('\n').filter(other).collect();
        self.0.insert_str(self.0.len() - 2, &format!("{name}: {value}\r\n"));
    }
}

/// The rule that determines the end of a body.
#[derive(Clone, Debug)]
enum Framing {
    Length(u64),
    Chunked,
    /// The body ends with the connection.
    Close,
}

/// A request or an answer.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    framing: Framing,
    /// The lines after a chunked body.
    trailers: Vec<u8>,
}

impl Message {
    /// Returns an answer of the proxy to a request of this method.
    pub(crate) fn answer(
        method: &str,
        status: u16,
        headers: &[(&str, String)],
        body: &[u8],
    ) -> Self {
        let mut head = Head(format!("HTTP/1.1 {status} Injected\r\n\r\n"));
        if !matches!(status, 204 | 304) {
            head.replace("Content-Length", &body.len().to_string());
        }
        for (name, value) in headers {
            head.replace(name, value);
        }
        let bare = is_bare(method, status);
        let body = if bare { Vec::new() } else { body.to_vec() };
        Self { head, framing: Framing::Length(body.len() as u64), body, trailers: Vec::new() }
    }

    /// Reads the final answer to a request of this method.
    ///
    /// Skips interim answers (1xx).
    pub(crate) fn read_answer(upstream: &TcpStream, method: &str) -> io::Result<Self> {
        let mut upstream = BufReader::new(upstream);
        loop {
            let mut head = Vec::new();
            while !head.ends_with(HEAD_END) {
                head.extend(read_line(&mut upstream)?);
                bound(head.len() as u64, HEAD_BYTES_MAX)?;
            }
            let head = Head::new(&head);
            let status = head.status().ok_or(ErrorKind::InvalidData)?;
            if status >= 200 {
                let framing = match head.framing()? {
                    _ if is_bare(method, status) => Framing::Length(0),
                    framing => framing.unwrap_or(Framing::Close),
                };
                return Self::read_body(&mut upstream, head, framing);
            }
        }
    }

    fn read_body(from: &mut impl BufRead, head: Head, framing: Framing) -> io::Result<Self> {
        let mut message = Self { head, body: Vec::new(), framing, trailers: Vec::new() };
        match message.framing {
            Framing::Length(length) => read_some(from, length, &mut message.body)?,
            Framing::Close => {
                from.take(BODY_BYTES_MAX + 1).read_to_end(&mut message.body)?;
                bound(message.body.len() as u64, BODY_BYTES_MAX)?;
            }
            Framing::Chunked => message.read_chunks(from)?,
        }
        Ok(message)
    }

    fn read_chunks(&mut self, from: &mut impl BufRead) -> io::Result<()> {
        loop {
            let line = String::from_utf8_lossy(&read_line(from)?).into_owned();
            let size = line.split(';').next().unwrap_or_default().trim();
            match u64::from_str_radix(size, 16).map_err(|_| ErrorKind::InvalidData)? {
                0 => break,
                size => read_some(from, size, &mut self.body)?,
            }
            read_line(from)?;
        }
        loop {
            let line = read_line(from)?;
            if line == b"\r\n" {
                return Ok(());
            }
            self.trailers.extend(line);
            bound(self.trailers.len() as u64, HEAD_BYTES_MAX)?;
        }
    }

    /// Returns the bytes to send.
    ///
    /// With `cut`, the result has at most this number of bytes of the body, never the last one.
    pub(crate) fn encode(&self, cut: Option<usize>) -> Vec<u8> {
        let latin = |c| u8::try_from(c).unwrap_or(b'?');
        let mut bytes: Vec<u8> = self.head.0.chars().map(latin).collect();
        let chunked = matches!(self.framing, Framing::Chunked);
        if chunked && !self.body.is_empty() {
            bytes.extend(format!("{:x}\r\n", self.body.len()).into_bytes());
        }
        if let Some(cut) = cut {
            bytes.extend(&self.body[..cut.min(self.body.len().saturating_sub(1))]);
            return bytes;
        }
        bytes.extend(&self.body);
        if chunked {
            bytes.extend(if self.body.is_empty() { &b"0\r\n"[..] } else { b"\r\n0\r\n" });
            bytes.extend(&self.trailers);
            bytes.extend(b"\r\n");
        }
        bytes
    }

    /// Returns whether the connection ends after this message.
    pub(crate) fn ends_connection(&self) -> bool {
        matches!(self.framing, Framing::Close)
            || self.head.has_header("connection", "close")
            || self.head.0.starts_with("HTTP/1.0")
    }
}

/// A request whose head was peeked, with unread bytes in the socket.
///
/// Closing the socket now resets the connection: the kernel does so if data was not read.
#[derive(Debug)]
pub(crate) struct PendingRequest {
    pub(crate) head: Head,
    unread: usize,
}

impl PendingRequest {
    /// Waits for the next request; `None` if the client has closed the connection.
    pub(crate) fn next(mut client: &TcpStream) -> io::Result<Option<Self>> {
        let mut head = Vec::new();
        loop {
            let mut some = [0; 16 << 10];
            let count = match client.peek(&mut some) {
                Ok(0) if head.is_empty() => return Ok(None),
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                count => count?,
            };
            let read = head.len();
            head.extend(&some[..count]);
            if let Some(end) = head.windows(4).position(|four| four == HEAD_END) {
                head.truncate(end + 4);
                return Ok(Some(Self { head: Head::new(&head), unread: head.len() - read }));
            }
            bound(head.len() as u64, HEAD_BYTES_MAX)?;
            client.read_exact(&mut some[..count])?;
        }
    }

    /// Reads the whole request.
    ///
    /// Sends 100 (Continue) to a client that waits for it before its body.
    pub(crate) fn finish(self, mut client: &TcpStream) -> io::Result<Message> {
        client.read_exact(&mut vec![0; self.unread])?;
        if self.head.has_header("expect", "100-continue") {
            io::Write::write_all(&mut client, b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        // A buffer of one byte never reads a part of the next request.
        let mut client = BufReader::with_capacity(1, client);
        let framing = self.head.framing()?.unwrap_or(Framing::Length(0));
        Message::read_body(&mut client, self.head, framing)
    }
}

/// Returns whether an answer has no body, independent of its headers.
fn is_bare(method: &str, status: u16) -> bool {
    method == "HEAD" || matches!(status, 204 | 304)
}

fn bound(bytes: u64, max: u64) -> io::Result<()> {
    if bytes > max { Err(ErrorKind::FileTooLarge.into()) } else { Ok(()) }
}

fn read_line(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    from.take(HEAD_BYTES_MAX).read_until(b'\n', &mut line)?;
    if line.ends_with(b"\n") { Ok(line) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

/// Appends `bytes` bytes.
fn read_some(from: &mut impl BufRead, bytes: u64, to: &mut Vec<u8>) -> io::Result<()> {
    bound(bytes.saturating_add(to.len() as u64), BODY_BYTES_MAX)?;
    let read = from.take(bytes).read_to_end(to)?;
    if read as u64 == bytes { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
}
