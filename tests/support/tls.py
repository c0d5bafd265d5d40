"""TLS in tests: certificates of an authority of their own, and a front that speaks TLS for a server that does not."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    """Files in PEM. server: for 127.0.0.1; client: of the same authority."""

    authority: Path
    server: tuple[Path, Path]
    client: tuple[Path, Path]


def make_certificates(folder: Path) -> Certificates:
    """Needs the program openssl."""
    folder.mkdir(parents=True)

    def openssl(*arguments: object) -> None:
        command = ["openssl", *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=240)

    def signed(name: str) -> tuple[Path, Path]:
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        extension = ["-addext", "subjectAltName=IP:127.0.0.1"]
        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-days", "2"]
        issuer = ["-CA", "ca.pem", "-CAkey", "ca.key"] if name != "ca" else []
        openssl(
            "req", "-x509", "-subj", f"/CN={name}", *new, *issuer, *(extension if issuer else []), "-out", certificate
        )
        return certificate, key

    return Certificates(signed("ca")[0], signed("server"), signed("client"))


class Front:
    """Takes TLS connections, of clients with a certificate only, and passes them to a port of this machine."""

    def __init__(self, certificates: Certificates, to_port: int):
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.authority)
        self.context.load_cert_chain(*certificates.server)
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.to_port = to_port
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.context)
        self.server = asyncio.run_coroutine_threadsafe(starting, self.loop).result(240)
        self.port: int = self.server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(240)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.to_port)
        await asyncio.gather(_pass(reader, there_writer), _pass(there_reader, writer))


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except (OSError, ssl.SSLError):  # either side may leave in the middle
        pass
    finally:
        writer.close()
