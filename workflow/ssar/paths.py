"""Where everything that is made lies: the one place that spells the names of files under `results`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Paths:
    """File names under one results folder. The arguments may be Snakemake wildcards in braces."""

    results: str

    def data(self, dataset: str, name: str) -> str:
        """A file that belongs to a dataset: index.csv, meta.csv, videos."""
        return f"{self.results}/data/{dataset}/{name}"

    def index_part(self, dataset: str, part: int | str, jobs: int | str) -> str:
        """What a part of the index says when it is done; its results lie beside it."""
        return self.data(dataset, f"index/{part}-of-{jobs}.json")

    def split(self, dataset: str, protocol: str, draw: int | str) -> str:
        return f"{self.results}/splits/{dataset}/{protocol}.d{draw}.csv"

    def store(self, dataset: str, interval: int | str, sign: str) -> str:
        """The temporal-gradient store's manifest; its shards lie beside it."""
        return self.data(dataset, f"tg-n{interval}-{sign}/store.json")

    def run(self, run: str, name: str) -> str:
        """A file of one run: model.pt, curves.csv, run.json."""
        return f"{self.results}/runs/{run}/{name}"

    def scores(self, first: str, second: str) -> str:
        """Temporal similarities of all training videos under two pretrained networks (TimeBalance Eq. 5, 6)."""
        return f"{self.results}/scores/{first}+{second}/similarity.npz"

    def state(self, run: str) -> str:
        """The folder of resume checkpoints, undeclared so that Snakemake does not delete them."""
        return f"{self.results}/state/{run}"

    def evaluation(self, run: str, views: str, name: str) -> str:
        """predictions.npz or metrics.json of one run under one evaluation protocol."""
        return f"{self.results}/runs/{run}/{views}/{name}"

    def ablation(self, paper: str, variant: str) -> str:
        return f"{self.results}/ablations/{paper}/{variant}.json"

    def table(self, stem: str, suffix: str) -> str:
        return f"{self.results}/tables/{stem}.{suffix}"

    def figure(self, stem: str, suffix: str) -> str:
        return f"{self.results}/figures/{stem}.{suffix}"

    def tables(self, paper: str) -> str:
        """All tables of a paper, typeset in one document."""
        return self.table(f"{paper}/all", "pdf")

    def claims(self, paper: str, suffix: str) -> str:
        return f"{self.results}/claims/{paper}.{suffix}"

    @property
    def report(self) -> str:
        return f"{self.results}/report.html"

    @property
    def cost(self) -> str:
        return f"{self.results}/cost.md"

    @property
    def limits(self) -> str:
        """The forecast of each job, for time limits."""
        return f"{self.results}/cost.json"

    @property
    def probe(self) -> str:
        """How fast the user's device is."""
        return f"{self.results}/probe.json"

    def benchmark(self, *parts: str) -> str:
        """Time and memory of a job, as Snakemake measures them."""
        return f"{self.results}/benchmarks/{'/'.join(parts)}.tsv"

    def log(self, *parts: str) -> str:
        return f"{self.results}/logs/{'/'.join(parts)}.log"


def sign_slug(sign: str) -> str:
    """The order of a temporal gradient's difference, as part of a file name."""
    return {"x_t - x_t+n": "forward", "x_t+n - x_t": "backward"}[sign]
