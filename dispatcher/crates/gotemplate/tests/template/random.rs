//! Random hostile texts, the same in every run.

const PIECES: &[&str] = &[
    "\"",
    "'",
    "\\",
    "\n",
    "\r",
    "\r\n",
    "\t",
    " ",
    ": ",
    " #",
    "#",
    "- ",
    "---",
    "\n---\n",
    "...",
    "{{",
    "}}",
    "{",
    "}",
    "[",
    "]",
    ",",
    "&a ",
    "*a",
    "!",
    "!!binary ",
    "|",
    ">",
    "%",
    "@",
    "`",
    "~",
    "null",
    "true",
    "yes",
    "on",
    "x",
    "Ünïcode",
    "😀",
    "\u{0}",
    "\u{7}",
    "\u{1b}",
    "\u{7f}",
    "\u{85}",
    "\u{a0}",
    "\u{2028}",
    "\u{feff}",
    "<<",
    "=",
    "? ",
    "image: evil",
    "\n  image: evil\n",
    "\"\n  command: [sh]\n  x: \"",
    "$1",
    "${HOME}",
    "%s",
    "0x1f",
    "1e3",
    ".5",
    "-",
    "\u{1}end",
    "qaaaaaaaa",
    "0z",
    "\\n",
    "\\u0041",
    "&amp;",
    "<b>",
];

/// A xorshift generator, so that every run has the same texts.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }

    pub(super) fn text(&mut self) -> String {
        let count = 1 + self.below(6);
        (0..count).map(|_| PIECES[self.below(PIECES.len())]).collect()
    }
}
