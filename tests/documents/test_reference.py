"""The reference of commands, flags and variables is what the programs say."""

import unittest

import reference


class Reference(unittest.TestCase):
    maxDiff = 2000

    def test_the_reference_is_current(self):
        again = "run python3 tests/documents/reference.py"
        self.assertEqual(reference.page(), reference.PAGE.read_text(), again)


if __name__ == "__main__":
    unittest.main()
