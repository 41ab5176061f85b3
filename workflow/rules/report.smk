"""From every run's files to statistics, and from those to the PDF."""


rule summarize:
    input:
        results(PAIRS),
        "data/{study}/manifest.json",
        "data/{study}/test.json",
        "params/{study}/study.yaml",
        JUDGING,
    output:
        multiext("reports/{study}/", "summary.json", "cost.json", "timing.json"),
    log:
        "logs/{study}/summarize.log",
    threads: 1
    resources:
        mem_mb=1000,
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
        everything("src/detdistill/distill"),
        everything("src/detdistill/report"),
    output:
        "reports/{study}.pdf",
        "reports/{study}.html",
        multiext("reports/{study}/", *[f"{name}.svg" for name in FIGURES]),
    log:
        "logs/{study}/report.log",
    threads: 1
    resources:
        mem_mb=1000,
    message:
        "Draw the figures and print the report of {wildcards.study}"
    shell:
        "detdistill report --study {wildcards.study:q} > {log:q} 2>&1"
