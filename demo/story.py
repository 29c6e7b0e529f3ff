"""The demo from beginning to end. Called by `python -m demo up`.

Each step prints what it does as commands that a reader can type. What the demo promises (recall, an index that is not
exact, no failed call while a pod dies) is checked: DemoError where it does not hold.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from demo import embedding, fleet, glosses, outage, questions, screen
from demo.commands import Commands
from demo.errors import DemoError
from demo.places import CACHE, Place
from demo.screen import Steps, say, shell
from vectorfleet import Client, CollectionInfo, Unavailable, open_source

if TYPE_CHECKING:
    from demo.embedding import Embedder
    from demo.glosses import Gloss

CALLS_AROUND_THE_KILL = 300


def run(place: Place) -> None:
    """Everything, on `place`."""
    CACHE.mkdir(parents=True, exist_ok=True)
    steps = Steps()
    with steps.step("WordNet's glosses and their embeddings"):
        rows, file, embedder = _embeddings()
    with steps.step(f"A Kubernetes of three nodes ({place.name}), and the images of this tree"):
        commands = place.start()
        images = place.images()
        shell("kubectl get nodes", commands.kubectl("get", "nodes"))
    with steps.step("The chart"):
        fleet.install_chart(commands, images, CACHE)
    with steps.step("One resource becomes a fleet"):
        bucket = place.bucket(fleet.BUCKET)
        fleet.make_secret(commands, bucket)
        fleet.apply(commands, bucket)
    with fleet.addresses(commands, place.pods_are_reachable) as nodes, Client(nodes) as client:
        with steps.step(f"{len(rows):,} glosses into two shards of two copies each"):
            _load(client, file, len(rows))
        with steps.step("Sealed segments and their graphs"):
            _wait_until_sealed(client)
            shell("kubectl get vc,pods", commands.kubectl("-n", fleet.NAMESPACE, "get", "vc,pods"))
        with steps.step("Questions in plain English"):
            _ask(client, embedder)
        with steps.step(f"Recall and latency of {questions.SAMPLED} questions that no gloss contains"):
            sampled = embedder.encode(questions.sample(rows))
            _measure(client, sampled, file)
        with steps.step("A pod dies under a query loop"):
            _kill(client, commands, sampled)
    _what_next(place, commands, file, steps.seconds)


def _embeddings() -> tuple[list[Gloss], Path, Embedder]:
    archive = glosses.fetch(CACHE)
    rows = glosses.read(archive)
    say(f"WordNet 3.1, {glosses.NOTICE}")
    embedder = embedding.Embedder()
    file = embedding.parquet_path(CACHE)
    if not file.is_file():
        say(f"embedding {len(rows):,} glosses with MiniLM: some minutes, once")
        with screen.counting("embedding") as progress:
            vectors = embedder.encode([row.text for row in rows], lambda done: progress(done, len(rows)))
        embedding.write(file, rows, vectors)
    say(f"{len(rows):,} vectors of {embedding.DIMENSIONS} dimensions in {file}")
    return rows, file, embedder


def _load(client: Client, file: Path, rows: int) -> None:
    shell(f"vectorfleet load {fleet.NAME} {file}")
    if client.count(fleet.NAME, consistency="Strong") == rows:
        say("the bucket has them already, and the fleet adopted them: nothing to load")
        return
    with screen.counting("loading") as progress:
        loaded = client.load(fleet.NAME, open_source(file), progress=progress)
    say(f"{loaded.rows:,} rows in {loaded.seconds:.1f} s: {loaded.rows / loaded.seconds:,.0f} rows/s, each one durable")
    stored = client.count(fleet.NAME, consistency="Strong")
    if stored != rows:
        raise DemoError(f"{rows:,} rows were written and the fleet counts {stored:,}")


def _wait_until_sealed(client: Client) -> None:
    def sealed() -> CollectionInfo | None:
        try:
            info = client.describe(fleet.NAME)
        except Unavailable:
            return None
        copies = [copy for shard in info.shards for copy in shard.replicas]
        return info if info.sealed and all(set(copy.indexes) - {"Exact"} for copy in copies) else None

    info = screen.wait_until(sealed, "every copy of every shard has its index", timeout=300)
    columns = [("shard", "right"), ("node", "left"), ("rows", "right"), ("indexes", "left")]
    lines = [
        (str(shard.id), copy.node + (" (leader)" if copy.leader else ""), f"{copy.rows:,}", ", ".join(copy.indexes))
        for shard in info.shards
        for copy in shard.replicas
    ]
    screen.table(columns, lines)


def _ask(client: Client, embedder: Embedder) -> None:
    vectors = embedder.encode(list(questions.QUESTIONS))
    result = client.search(fleet.NAME, vectors, k=2, output_fields=["word", "definition"])
    columns = [("question", "left"), ("score", "right"), ("answer", "left"), ("which means", "left")]
    lines = []
    for question, hits in zip(questions.QUESTIONS, result.hits, strict=True):
        for number, hit in enumerate(hits):
            words = str(hit.fields["word"])
            lines.append(("" if number else question, f"{hit.score:.3f}", words, str(hit.fields["definition"])))
    screen.table(columns, lines)
    verbs = client.search(fleet.NAME, vectors[-1], k=1, filter='part_of_speech == "verb"', output_fields=["word"])
    say(f'the last one with the filter part_of_speech == "verb": {verbs.hits[0][0].fields["word"]}')


def _measure(client: Client, sampled: NDArray[np.float32], file: Path) -> None:
    keys, vectors = embedding.read_vectors(file)
    measured = questions.measure(client, fleet.NAME, sampled, keys, vectors)
    say(f"recall@{questions.K} against exact search: {measured.recall:.4f} (promised: {questions.LEAST_RECALL})")
    say(f"latency, one at a time, from this process: p50 {measured.p50:.1f} ms, p99 {measured.p99:.1f} ms")
    say(f"indexes that answered: {', '.join(sorted(measured.indexes))}")
    if problems := measured.problems():
        raise DemoError("; ".join(problems))


def _kill(client: Client, commands: Commands, queries: NDArray[np.float32]) -> None:
    pod = outage.victim(client.describe(fleet.NAME))

    def ask(query: NDArray[np.float32]) -> int:
        return len(client.search(fleet.NAME, query, k=questions.K).hits[0])

    with outage.QueryLoop(ask, queries, questions.K) as loop:
        screen.wait_until(lambda: loop.calls >= CALLS_AROUND_THE_KILL, "queries run", 60, every=0.05)
        before = loop.calls
        arguments = ("-n", fleet.NAMESPACE, "delete", "pod", pod, "--force", "--grace-period=0")
        shell(f"kubectl {' '.join(arguments)}", commands.kubectl(*arguments))
        screen.wait_until(lambda: pod in _ready_names(commands), f"{pod} is back", 120, every=0.5)
        try:
            screen.wait_until(lambda: loop.calls >= before + CALLS_AROUND_THE_KILL, "queries go on", 60, every=0.05)
        except DemoError as error:
            raise DemoError(f"{error}; {loop.calls - before} calls since, failed: {loop.tally.failures[:3]}") from None
    tally = loop.tally
    say(f"{len(tally.failures)} of {tally.calls:,} calls failed; the slowest took {tally.slowest * 1000:.0f} ms")
    if tally.failures:
        raise DemoError(f"{len(tally.failures)} calls failed, promised are 0; the first: {tally.failures[0]}")


def _ready_names(commands: Commands) -> set[str]:
    return {str(pod["metadata"]["name"]) for pod in fleet.pods(commands)}


def _what_next(place: Place, commands: Commands, file: Path, seconds: float) -> None:
    screen.console.print(f"\n[bold green]All of it held, in {seconds:.0f} s.[/bold green] Try next:")
    shell(f"export KUBECONFIG={commands.kubeconfig}")
    shell("kubectl describe vc dictionary")
    shell("kubectl port-forward service/dictionary 7300 &")
    shell("vectorfleet status dictionary")
    shell("vectorfleet search dictionary --like n02086723 --filter 'part_of_speech == \"noun\"'")
    shell("kubectl scale vc dictionary --replicas=2   # shards move first, then the pod goes")
    shell("kubectl delete pods,pvc -l vectorfleet.io/collection=dictionary   # the bucket has everything")
    shell(f"make demo-down   # removes what the demo made on {place.name}")
