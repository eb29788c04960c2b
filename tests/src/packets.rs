//! An SSH client that sends single messages, well-formed or not (RFC 4250 to
//! 4254).

use std::io::{self, Read, Write};
use std::net::TcpStream;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};

use crate::{HANG, TestKey, TestNode};

/// An SSH client that sends what it is told to, sense or nonsense, message by
/// message (RFC 4253): no library lets a test overrun a window. It takes any
/// host key.
pub struct Packets {
    stream: TcpStream,
    outgoing: Option<Cipher>,
    incoming: Option<Cipher>,
}

/// The names a key exchange settles on, in the order of RFC 4253 section 7.1.
const ALGORITHMS: [&str; 10] = [
    "curve25519-sha256",
    "ssh-ed25519",
    "aes256-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-256-etm@openssh.com",
    "none",
    "none",
    "",
    "",
];

const BANNER: &str = "SSH-2.0-packets";

impl Packets {
    /// Connects over TCP and logs in.
    pub fn login(node: &TestNode, key: &TestKey) -> Self {
        let (mut packets, session) = Self::connected(node);
        packets.authenticate(&session, key).unwrap();
        packets
    }

    /// Connects over TCP and agrees on keys, without logging in.
    pub fn connect(node: &TestNode) -> Self {
        Self::connected(node).0
    }

    fn connected(node: &TestNode) -> (Self, Vec<u8>) {
        let stream = TcpStream::connect(node.tcp.expect("the node listens on TCP")).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(HANG)).unwrap();
        stream.set_write_timeout(Some(HANG)).unwrap();
        let mut packets = Self {
            stream,
            outgoing: None,
            incoming: None,
        };
        let session = packets.agree_on_keys().unwrap();
        (packets, session)
    }

    /// Sends one message.
    ///
    /// # Errors
    /// When the node has hung up.
    pub fn send(&mut self, message: &Message) -> io::Result<()> {
        let payload = &message.0;
        // With a cipher the length itself is not part of what is padded.
        let block = if self.outgoing.is_some() { 16 } else { 8 };
        let counted = payload.len() + if self.outgoing.is_some() { 1 } else { 5 };
        let padding = block + 3 - (counted + 3) % block;
        let mut body = vec![u8::try_from(padding).unwrap()];
        body.extend_from_slice(payload);
        body.resize(body.len() + padding, 0);
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        if let Some(cipher) = &mut self.outgoing {
            cipher.seal(length, &mut body);
        }
        self.stream.write_all(&[&length[..], &body].concat())
    }

    /// The next message, other than those that ask for nothing.
    ///
    /// # Errors
    /// When the node has hung up.
    pub fn read(&mut self) -> io::Result<Fields> {
        loop {
            let payload = self.receive()?;
            // IGNORE, DEBUG, EXT_INFO.
            if ![2, 4, 7].contains(&payload[0]) {
                return Ok(Fields(payload, 1));
            }
        }
    }

    /// The next message of this kind; those of others are passed over.
    ///
    /// # Errors
    /// When the node has hung up.
    pub fn read_one_of(&mut self, kinds: &[u8]) -> io::Result<Fields> {
        loop {
            let fields = self.read()?;
            if kinds.contains(&fields.kind()) {
                return Ok(fields);
            }
        }
    }

    /// The same connection, to send on it from another thread. This one must
    /// send no more.
    pub fn sender(&mut self) -> Self {
        Self {
            stream: self.stream.try_clone().unwrap(),
            outgoing: self.outgoing.take(),
            incoming: None,
        }
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let size = u32::from_be_bytes(length) as usize;
        assert!(size < 1 << 20, "a packet of {size} bytes");
        let mut body = vec![0; size];
        self.stream.read_exact(&mut body)?;
        if let Some(cipher) = &mut self.incoming {
            let mut tag = [0; 16];
            self.stream.read_exact(&mut tag)?;
            body.extend_from_slice(&tag);
            cipher.open(length, &mut body);
        }
        let padding = usize::from(body[0]);
        body.truncate(body.len() - padding);
        body.remove(0);
        Ok(body)
    }

    /// Runs the key exchange: RFC 4253 sections 4, 7 and 8, RFC 8731, RFC 5647
    /// as OpenSSH has it. Returns the session's id.
    fn agree_on_keys(&mut self) -> io::Result<Vec<u8>> {
        self.stream.write_all(format!("{BANNER}\r\n").as_bytes())?;
        let mut theirs = Vec::new();
        while !theirs.ends_with(b"\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            theirs.push(byte[0]);
        }
        theirs.truncate(theirs.len() - 2);

        let random = SystemRandom::new();
        let mut cookie = [0; 16];
        random.fill(&mut cookie).unwrap();
        let mut ours = Message::new(20).bytes(&cookie);
        for name in ALGORITHMS {
            ours = ours.string(name);
        }
        let ours = ours.bytes(&[0; 5]);
        self.send(&ours)?;
        let their_init = self.receive()?;

        let secret = EphemeralPrivateKey::generate(&X25519, &random).unwrap();
        let public = secret.compute_public_key().unwrap();
        self.send(&Message::new(30).string(&public))?;
        let mut reply = self.read()?;
        let (host_key, point) = (reply.string(), reply.string());
        let shared = agree_ephemeral(secret, &UnparsedPublicKey::new(&X25519, &point), |shared| {
            Message(Vec::new()).mpint(shared).0
        })
        .unwrap();
        let hashed = Message(Vec::new())
            .string(BANNER)
            .string(&theirs)
            .string(&ours.0)
            .string(&their_init)
            .string(&host_key)
            .string(&public)
            .string(&point)
            .bytes(&shared);
        let session = digest(&SHA256, &hashed.0).as_ref().to_vec();

        self.send(&Message::new(21))?;
        self.read_one_of(&[21])?;
        let derive = |letter: u8| {
            let input = [&shared[..], &session, &[letter], &session].concat();
            digest(&SHA256, &input).as_ref().to_vec()
        };
        self.outgoing = Some(Cipher::new(&derive(b'C'), &derive(b'A')));
        self.incoming = Some(Cipher::new(&derive(b'D'), &derive(b'B')));
        Ok(session)
    }

    /// Logs in with a key (RFC 4252 section 7).
    fn authenticate(&mut self, session: &[u8], key: &TestKey) -> io::Result<()> {
        self.send(&Message::new(5).string("ssh-userauth"))?;
        self.read_one_of(&[6])?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&key.seed()).unwrap();
        let blob = Message(Vec::new())
            .string("ssh-ed25519")
            .string(pair.public_key())
            .0;
        let request = Message::new(50)
            .string("anyone")
            .string("ssh-connection")
            .string("publickey")
            .bytes(&[1])
            .string("ssh-ed25519")
            .string(&blob);
        let signed = Message(Vec::new()).string(session).bytes(&request.0);
        let signature = Message(Vec::new())
            .string("ssh-ed25519")
            .string(pair.sign(&signed.0));
        self.send(&request.string(&signature.0))?;
        let answer = self.read_one_of(&[51, 52])?;
        assert_eq!(answer.kind(), 52, "the node refused the key");
        Ok(())
    }
}

/// A message to send.
#[derive(Clone, Debug)]
pub struct Message(Vec<u8>);

impl Message {
    /// A message of this kind (RFC 4250 section 4.1.2).
    pub fn new(kind: u8) -> Self {
        Self(vec![kind])
    }

    /// A `direct-tcpip` channel (RFC 4254 section 7.2).
    pub fn direct_tcpip(channel: u32, host: impl AsRef<[u8]>, port: u32) -> Self {
        Self::open("direct-tcpip", channel)
            .string(host)
            .u32(port)
            .string("127.0.0.1")
            .u32(1)
    }

    /// A `direct-streamlocal@openssh.com` channel.
    pub fn direct_streamlocal(channel: u32, path: impl AsRef<[u8]>) -> Self {
        Self::open("direct-streamlocal@openssh.com", channel)
            .string(path)
            .string("")
            .u32(0)
    }

    /// Any channel, with a window of 2 MiB.
    pub fn open(kind: &str, channel: u32) -> Self {
        Self::new(90)
            .string(kind)
            .u32(channel)
            .u32(2 << 20)
            .u32(32 << 10)
    }

    /// A global request with an answer wanted.
    pub fn global(kind: &str) -> Self {
        Self::new(80).string(kind).bytes(&[1])
    }

    /// `tcpip-forward` (RFC 4254 section 7.1).
    pub fn tcpip_forward(address: impl AsRef<[u8]>, port: u32) -> Self {
        Self::global("tcpip-forward").string(address).u32(port)
    }

    /// `streamlocal-forward@openssh.com`.
    pub fn streamlocal_forward(path: impl AsRef<[u8]>) -> Self {
        Self::global("streamlocal-forward@openssh.com").string(path)
    }

    /// Bytes on a channel; `channel` is the node's number for it.
    pub fn data(channel: u32, bytes: &[u8]) -> Self {
        Self::new(94).u32(channel).string(bytes)
    }

    /// Appends bytes as they are.
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends a number (`uint32`).
    pub fn u32(self, number: u32) -> Self {
        self.bytes(&number.to_be_bytes())
    }

    /// Appends a text with its length (`string`).
    pub fn string(self, text: impl AsRef<[u8]>) -> Self {
        let text = text.as_ref();
        self.u32(u32::try_from(text.len()).unwrap()).bytes(text)
    }

    /// Appends a positive number of any size (`mpint`, RFC 4251 section 5).
    fn mpint(self, number: &[u8]) -> Self {
        let zeros = number.iter().take_while(|&&byte| byte == 0).count();
        let number = &number[zeros..];
        let sign: &[u8] = match number.first() {
            Some(0x80..) => &[0],
            _ => &[],
        };
        self.string([sign, number].concat())
    }
}

/// A message that came, read from its front.
#[derive(Debug)]
pub struct Fields(Vec<u8>, usize);

impl Fields {
    /// What kind of message it is.
    pub fn kind(&self) -> u8 {
        self.0[0]
    }

    /// The next number.
    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().unwrap())
    }

    /// The next text.
    pub fn string(&mut self) -> Vec<u8> {
        let length = self.u32() as usize;
        self.take(length)
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let taken = self.0[self.1..self.1 + length].to_vec();
        self.1 += length;
        taken
    }
}

struct Cipher {
    key: LessSafeKey,
    fixed: [u8; 4],
    counter: u64,
}

impl Cipher {
    fn new(key: &[u8], iv: &[u8]) -> Self {
        Self {
            key: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap()),
            fixed: iv[..4].try_into().unwrap(),
            counter: u64::from_be_bytes(iv[4..12].try_into().unwrap()),
        }
    }

    fn seal(&mut self, length: [u8; 4], body: &mut Vec<u8>) {
        let nonce = self.nonce();
        self.key
            .seal_in_place_append_tag(nonce, Aad::from(length), body)
            .unwrap();
    }

    fn open(&mut self, length: [u8; 4], body: &mut Vec<u8>) {
        let nonce = self.nonce();
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(length), body)
            .unwrap()
            .len();
        body.truncate(plain);
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&self.fixed);
        nonce[4..].copy_from_slice(&self.counter.to_be_bytes());
        self.counter = self.counter.wrapping_add(1);
        Nonce::assume_unique_for_key(nonce)
    }
}
