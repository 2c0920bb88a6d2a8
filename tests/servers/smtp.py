#!/usr/bin/env python3
"""An SMTP server for tests: keeps every accepted message as a JSON file, and misbehaves when its mode file says so.

usage: smtp.py DIRECTORY PORT plain|starttls|tls [CERTIFICATE KEY] [--login USER PASSWORD]

DIRECTORY/mode     accept | refuse-4xx | refuse-5xx | hang | accept-then-hang | accept-then-close | accept-then-wait |
                   hang-at-quit | refuse-marketing; read at every message
DIRECTORY/reached  written at every message that the mode is for
DIRECTORY/mails    one JSON file a message: envelope, headers, text and HTML parts, the raw source
DIRECTORY/ready    written when the server listens
"""

import asyncio
import email
import email.policy
import json
import pathlib
import ssl
import sys
import time

from aiosmtpd.smtp import SMTP, AuthResult

FOREVER = 100_000


class Keeper:
    """Decides by mode and writes messages to files."""

    def __init__(self, directory):
        self.directory = directory
        self.count = len(list((directory / "mails").iterdir()))

    def mode(self):
        return (self.directory / "mode").read_text().strip()

    def keep(self, envelope, answered):
        message = email.message_from_bytes(envelope.original_content or envelope.content, policy=email.policy.default)
        parts = {kind: message.get_body((kind,)) for kind in ("plain", "html")}
        record = {
            "sender": envelope.mail_from,
            "recipients": envelope.rcpt_tos,
            "message_id": message["Message-ID"],
            "from": message["From"],
            "to": message["To"],
            "subject": message["Subject"],
            "text": parts["plain"].get_content() if parts["plain"] else None,
            "html": parts["html"].get_content() if parts["html"] else None,
            "at": time.time(),
            "answered": answered,
            "raw": (envelope.original_content or envelope.content).decode("utf-8", "replace"),
        }
        self.count += 1
        unfinished = self.directory / f"{self.count:06}.unfinished"
        unfinished.write_text(json.dumps(record))
        unfinished.rename(self.directory / "mails" / f"{self.count:06}.json")

    async def handle_DATA(self, server, session, envelope):
        mode = self.mode()
        if mode == "refuse-marketing" and not any(to.startswith("marketing@") for to in envelope.rcpt_tos):
            mode = "accept"
        else:
            (self.directory / "reached").touch()
        if mode == "refuse-marketing":
            return "452 4.2.2 this mailbox is full"
        if mode == "refuse-4xx":
            return "451 4.3.0 try again later"
        if mode == "refuse-5xx":
            return "554 5.6.0 this message is not wanted"
        if mode == "hang":
            await asyncio.sleep(FOREVER)
        self.keep(envelope, answered=mode not in ("accept-then-hang", "accept-then-close"))
        if mode == "accept-then-close":
            server.transport.abort()
        if mode in ("accept-then-hang", "accept-then-close"):
            await asyncio.sleep(FOREVER)
        while mode == "accept-then-wait" == self.mode():
            await asyncio.sleep(0.05)
        return "250 2.0.0 accepted"

    async def handle_QUIT(self, server, session, envelope):
        if self.mode() == "hang-at-quit":
            await asyncio.sleep(FOREVER)
        return "221 2.0.0 bye"


async def serve(directory, port, security, files, login):
    context = None
    if files:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
    keeper = Keeper(directory)

    def check(server, session, envelope, mechanism, credentials):
        given = [credentials.login.decode(), credentials.password.decode()]
        return AuthResult(success=given == login, handled=False)

    def protocol():
        return SMTP(
            keeper,
            hostname="localhost",
            enable_SMTPUTF8=True,
            tls_context=context if security == "starttls" else None,
            require_starttls=security == "starttls",
            authenticator=check if login else None,
            auth_required=bool(login),
            auth_require_tls=security == "starttls",
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", port, ssl=context if security == "tls" else None)
    (directory / "ready").write_text("ready")
    await server.serve_forever()


def main(arguments):
    login = []
    if "--login" in arguments:
        at = arguments.index("--login")
        login = arguments[at + 1 : at + 3]
        del arguments[at : at + 3]
    directory, port, security, *files = arguments
    asyncio.run(serve(pathlib.Path(directory), int(port), security, files, login))


if __name__ == "__main__":
    main(sys.argv[1:])
