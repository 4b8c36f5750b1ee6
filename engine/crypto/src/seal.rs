//! Authenticated encryption of one message: a block, a part of an object, a wrapped key.

use std::fmt;

use aes_gcm_siv::Aes256GcmSiv;
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::aead::{AeadInOut, KeyInit};

use super::secret::SecretKey;

/// Length of a nonce in bytes, for both ciphers.
///
/// Nonces are random, never counters: a restored copy would repeat the values of a counter.
pub const NONCE_BYTES: usize = 24;
/// Length of an authentication tag in bytes.
pub const TAG_BYTES: usize = 16;

/// Bytes of the nonce that AES-256-GCM-SIV uses. The others are authenticated with it.
const GCM_NONCE_BYTES: usize = 12;

/// Longest associated data in bytes.
const ASSOCIATED_BYTES_MAX: usize = 64;

/// The cipher of a vault, fixed at creation. Both take keys of 256 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cipher {
    /// AES-256-GCM-SIV, RFC 8452.
    ///
    /// It takes a third of the other's time with AES instructions, and several times as long
    /// without. A repeated nonce reveals whether two messages are equal, and nothing else.
    Aes256GcmSiv,
    /// XChaCha20-Poly1305, draft-irtf-cfrg-xchacha-03: equally fast on every processor.
    XChaCha20Poly1305,
}

impl Cipher {
    /// Returns the faster cipher for this machine's processor.
    pub fn for_this_machine() -> Self {
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        let has_aes = std::arch::is_x86_feature_detected!("aes")
            && std::arch::is_x86_feature_detected!("pclmulqdq");
        #[cfg(target_arch = "aarch64")]
        let has_aes = std::arch::is_aarch64_feature_detected!("aes");
        #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
        let has_aes = false;
        if has_aes { Self::Aes256GcmSiv } else { Self::XChaCha20Poly1305 }
    }

    /// Returns the cipher's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aes256GcmSiv => "AES-256-GCM-SIV",
            Self::XChaCha20Poly1305 => "XChaCha20-Poly1305",
        }
    }
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The failure to authenticate a message.
///
/// The message was sealed under another key, with other associated data, or was changed. The cause
/// cannot be determined, and is not reported.
#[derive(Debug)]
pub struct Unauthentic;

/// A key that is ready to seal and open. The ciphers zeroise their state when dropped.
pub enum SealKey {
    Aes(Box<Aes256GcmSiv>),
    XChaCha(Box<XChaCha20Poly1305>),
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(..)")
    }
}

impl SealKey {
    /// Derives the key for the use that `context` names.
    pub fn derive(cipher: Cipher, key: &SecretKey, context: &str) -> Self {
        let key = key.derive(context, cipher.as_str().as_bytes());
        let bytes = key.expose().into();
        match cipher {
            Cipher::Aes256GcmSiv => Self::Aes(Box::new(Aes256GcmSiv::new(bytes))),
            Cipher::XChaCha20Poly1305 => Self::XChaCha(Box::new(XChaCha20Poly1305::new(bytes))),
        }
    }

    /// Encrypts `message` in place; returns its tag.
    pub fn seal(
        &self,
        nonce: &[u8; NONCE_BYTES],
        associated: &[u8],
        message: &mut [u8],
    ) -> [u8; TAG_BYTES] {
        self.seal_buffer(nonce, associated, message.into())
    }

    /// Encrypts `message` into `sealed`, which has the same length; returns its tag.
    pub fn seal_into(
        &self,
        nonce: &[u8; NONCE_BYTES],
        associated: &[u8],
        message: &[u8],
        sealed: &mut [u8],
    ) -> [u8; TAG_BYTES] {
        let buffer = InOutBuf::new(message, sealed).expect("both are as long");
        self.seal_buffer(nonce, associated, buffer)
    }

    fn seal_buffer(
        &self,
        nonce: &[u8; NONCE_BYTES],
        associated: &[u8],
        buffer: InOutBuf<'_, '_, u8>,
    ) -> [u8; TAG_BYTES] {
        let tag = match self {
            Self::Aes(key) => {
                let (nonce, rest) = split(nonce);
                let mut held = [0; ASSOCIATED_BYTES_MAX + NONCE_BYTES];
                key.encrypt_inout_detached(&nonce.into(), join(&mut held, associated, rest), buffer)
            }
            Self::XChaCha(key) => key.encrypt_inout_detached(nonce.into(), associated, buffer),
        };
        tag.expect("messages are far shorter than the ciphers' limits").into()
    }

    /// Decrypts `sealed` into `message`, which has the same length.
    pub fn open(
        &self,
        nonce: &[u8; NONCE_BYTES],
        associated: &[u8],
        sealed: &[u8],
        tag: &[u8; TAG_BYTES],
        message: &mut [u8],
    ) -> Result<(), Unauthentic> {
        let buffer = InOutBuf::new(sealed, message).expect("both are as long");
        let opened = match self {
            Self::Aes(key) => {
                let (nonce, rest) = split(nonce);
                let mut held = [0; ASSOCIATED_BYTES_MAX + NONCE_BYTES];
                let associated = join(&mut held, associated, rest);
                key.decrypt_inout_detached(&nonce.into(), associated, buffer, tag.into())
            }
            Self::XChaCha(key) => {
                key.decrypt_inout_detached(nonce.into(), associated, buffer, tag.into())
            }
        };
        opened.map_err(|_| Unauthentic)
    }
}

fn split(nonce: &[u8; NONCE_BYTES]) -> ([u8; GCM_NONCE_BYTES], &[u8]) {
    let (first, rest) = nonce.split_at(GCM_NONCE_BYTES);
    (first.try_into().expect("twelve bytes"), rest)
}

/// Joins `associated` and the remaining bytes of the nonce.
fn join<'a>(held: &'a mut [u8], associated: &[u8], rest: &[u8]) -> &'a [u8] {
    let len = associated.len() + rest.len();
    held[..associated.len()].copy_from_slice(associated);
    held[associated.len()..len].copy_from_slice(rest);
    &held[..len]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seals a message, applies `change`, and returns whether the result opens.
    fn opens(
        cipher: Cipher,
        change: impl FnOnce(&mut [u8; NONCE_BYTES], &mut Vec<u8>, &mut [u8], &mut [u8; TAG_BYTES]),
    ) -> bool {
        let key = SealKey::derive(cipher, &SecretKey::new([7; 32]), "test");
        let mut nonce = [3; NONCE_BYTES];
        let mut associated = b"place".to_vec();
        let mut message = *b"attack at dawn..";
        let mut tag = key.seal(&nonce, &associated, &mut message);
        assert_ne!(&message, b"attack at dawn..");
        change(&mut nonce, &mut associated, &mut message, &mut tag);
        let mut opened = [0; 16];
        let outcome = key.open(&nonce, &associated, &message, &tag, &mut opened);
        outcome.is_ok() && opened == *b"attack at dawn.."
    }

    #[test]
    fn only_the_unchanged_message_opens() {
        for cipher in [Cipher::Aes256GcmSiv, Cipher::XChaCha20Poly1305] {
            assert!(opens(cipher, |_, _, _, _| ()), "{cipher}");
            for at in 0..NONCE_BYTES {
                assert!(!opens(cipher, |nonce, _, _, _| nonce[at] ^= 1), "{cipher}, nonce {at}");
            }
            for at in 0..16 {
                assert!(!opens(cipher, |_, _, sealed, _| sealed[at] ^= 1), "{cipher}, byte {at}");
                assert!(!opens(cipher, |_, _, _, tag| tag[at] ^= 1), "{cipher}, tag {at}");
            }
            assert!(!opens(cipher, |_, place, _, _| place.push(0)), "{cipher}, place");
        }
    }
}
