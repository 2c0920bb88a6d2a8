"""A mail catcher: SMTP on 1025, web page and API on 1080. Mails are kept in memory.

GET /                        the mails, newest first
GET /api/version             who answers
GET /api/messages            what is known of each mail, oldest first
GET /api/message/{id}        one mail with its headers, texts and raw bytes (base64)
GET /api/message/{id}/body   its HTML, or its text
"""

import asyncio
import base64
import email
import email.policy
import email.utils
import html
import json
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aiosmtpd.controller import Controller

MAILS = {}


class Mail:
    """One mail, taken apart."""

    def __init__(self, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.raw = envelope.content
        self.headers = {name: str(value) for name, value in message.items()}
        self.text, self.html = (self.part(message, kind) for kind in ("plain", "html"))
        self.about = {
            "id": str(uuid.uuid4()),
            "from": (addresses(message, "From") or [{"name": None, "email": None}])[0],
            "to": addresses(message, "To"),
            "subject": str(message["Subject"] or ""),
            "time": int(time.time()),
            "date": time.strftime("%Y-%m-%d %H:%M:%S"),
            "size": f"{len(envelope.content)} B",
            "opened": False,
            "envelope_from": envelope.mail_from,
            "envelope_recipients": envelope.rcpt_tos,
        }

    @staticmethod
    def part(message, kind):
        body = message.get_body((kind,))
        return body.get_content() if body else ""

    def listed(self):
        return self.about | {"has_html": bool(self.html), "has_plain": bool(self.text), "attachments": []}

    def whole(self):
        raw = base64.b64encode(self.raw).decode()
        return self.about | {"headers": self.headers, "text": self.text, "html": self.html, "attachments": [], "raw": raw}


def addresses(message, header):
    found = email.utils.getaddresses([str(value) for value in message.get_all(header, [])])
    return [{"name": name or None, "email": address} for name, address in found]


class Smtp:
    async def handle_DATA(self, _server, _session, envelope):
        mail = Mail(envelope)
        MAILS[mail.about["id"]] = mail
        return "250 OK"


class Web(BaseHTTPRequestHandler):
    def do_GET(self):
        match self.path.strip("/").split("/"):
            case [""]:
                self.answer(200, page(), "text/html")
            case ["api", "version"]:
                self.answer(200, json.dumps({"version_be": "stand-in"}))
            case ["api", "messages"]:
                self.answer(200, json.dumps([mail.listed() for mail in list(MAILS.values())]))
            case ["api", "message", name] if name in MAILS:
                self.answer(200, json.dumps(MAILS[name].whole()))
            case ["api", "message", name, "body"] if name in MAILS:
                mail = MAILS[name]
                self.answer(200, mail.html or f"<pre>{html.escape(mail.text)}</pre>", "text/html")
            case _:
                self.answer(404, '{"error": "not found"}')

    def answer(self, status, text, kind="application/json"):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        if kind == "text/html":
            # What a mail holds is not ours: no script of it runs.
            self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def page():
    rows = "".join(
        f"<tr><td>{about['date']}<td>{html.escape(', '.join(about['envelope_recipients']))}"
        f"<td><a href='/api/message/{about['id']}/body'>{html.escape(about['subject'])}</a>"
        for about in (mail.about for mail in reversed(list(MAILS.values())))
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=5><title>Mails</title>"
        "<style>body{font:16px system-ui;margin:2rem}td,th{padding:.3rem 1rem .3rem 0;text-align:left}</style>"
        f"<h1>{len(MAILS)} mails</h1><table><tr><th>When<th>To<th>Subject{rows}</table>"
    )


async def main():
    smtp = Controller(Smtp(), hostname="0.0.0.0", port=1025, enable_SMTPUTF8=True)
    smtp.start()
    web = ThreadingHTTPServer(("0.0.0.0", 1080), Web)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    print("SMTP on 1025, web page on 1080")
    stop = asyncio.Event()
    for signal in ("SIGTERM", "SIGINT"):
        asyncio.get_running_loop().add_signal_handler(getattr(__import__("signal"), signal), stop.set)
    await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
