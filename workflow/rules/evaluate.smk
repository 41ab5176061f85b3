"""Precision and cost of one run, teacher or student."""


rule evaluate:
    input:
        "data/{study}/manifest.json",
        "runs/{study}/{pair}/{recipe}/{seed}/model.safetensors",
        side,
        EVALUATING,
        engine,
    output:
        multiext("runs/{study}/{pair}/{recipe}/{seed}/", *EVALUATED),
    log:
        "logs/{study}/{pair}/{recipe}/{seed}/evaluate.log",
    priority: 1
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
    message:
        "Evaluate {wildcards.recipe} of {wildcards.pair}, seed {wildcards.seed}"
    shell:
        "detdistill evaluate {wildcards.pair} {wildcards.recipe} {wildcards.seed} --study {wildcards.study} > {log} 2>&1"
