"""From every run's files to statistics, and from those to the PDF.

What is flagged by `report` is in `snakemake --report report.html`, with its caption of workflow/report.
"""


rule summarize:
    input:
        results(PAIRS),
        "data/{study}/manifest.json",
        "data/{study}/test.json",
        "params/{study}/study.yaml",
        JUDGING,
    output:
        report(
            "reports/{study}/summary.json",
            caption="../report/summary.rst",
            category="Numbers",
            labels={"of": "precision"},
        ),
        report(
            "reports/{study}/cost.json",
            caption="../report/cost_table.rst",
            category="Numbers",
            labels={"of": "cost"},
        ),
        "reports/{study}/timing.json",
    log:
        "logs/{study}/summarize.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        **needs("summarize"),
    message:
        "Statistics over all runs of {wildcards.study}"
    shell:
        "detdistill summarize --study {wildcards.study:q} > {log:q} 2>&1"


rule report:
    input:
        results(PAIRS),
        multiext("reports/{study}/", "summary.json", "cost.json", "timing.json"),
        "data/{study}/manifest.json",
        "data/{study}/val.json",
        "data/{study}/timing.json",
        "params/{study}/study.yaml",
        JUDGING,
        source("evaluate", "maps"),
        source("train", "history"),
        everything("distill"),
        everything("report"),
    output:
        report(
            "reports/{study}.pdf",
            caption="../report/pdf.rst",
            category="Report with all tables",
            labels={"of": "{study}"},
        ),
        report(
            "reports/{study}.html",
            caption="../report/page.rst",
            category="Report with all tables",
            labels={"of": "{study}, for screens"},
        ),
        [
            report(
                f"reports/{{study}}/{name}.svg",
                caption=f"../report/{name}.rst",
                category="Figures",
                labels={"of": name},
            )
            for name in FIGURES
        ],
    log:
        "logs/{study}/report.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        **needs("report"),
    message:
        "Draw the figures and print the report of {wildcards.study}"
    shell:
        "detdistill report --study {wildcards.study:q} > {log:q} 2>&1"
