"""From every run's files to statistics, and from those to the PDF."""


rule summarize:
    input:
        results(PAIRS),
        "params/{study}/study.yaml",
        CORE,
        source("report", "results", "statistics", "summarize", "summary", "taxonomy"),
    output:
        multiext("reports/{study}/", "summary.json", "timing.json"),
    log:
        "logs/{study}/summarize.log",
    threads: 1
    resources:
        mem_mb=1000,
    message:
        "Statistics over all runs of {wildcards.study}"
    shell:
        "detdistill summarize --study {wildcards.study} > {log} 2>&1"


rule report:
    input:
        results(PAIRS),
        "reports/{study}/summary.json",
        "reports/{study}/timing.json",
        "data/{study}/manifest.json",
        "data/{study}/val.json",
        "data/{study}/timing.json",
        "params/{study}/study.yaml",
        READING,
        everything("src/detdistill/distill"),
        everything("src/detdistill/report"),
    output:
        "reports/{study}.pdf",
        multiext("reports/{study}/", "taxonomy.svg", "gains.svg", "curves.svg", "cost.svg", "detections.svg", "dag.svg"),
    log:
        "logs/{study}/report.log",
    threads: 1
    resources:
        mem_mb=1000,
    message:
        "Draw the figures and print the report of {wildcards.study}"
    shell:
        "detdistill report --study {wildcards.study} > {log} 2>&1"
