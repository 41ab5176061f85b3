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
        **needs("evaluate"),
    message:
        "Evaluate {wildcards.recipe} of {wildcards.pair}, seed {wildcards.seed}"
    shell:
        "detdistill evaluate {wildcards.pair:q} {wildcards.recipe:q} {wildcards.seed:q} --study {wildcards.study:q} > {log:q} 2>&1"


rule latency:
    input:
        "data/{study}/manifest.json",
        "params/{study}/{pair}/teacher.yaml",
        "params/{study}/{pair}/student.yaml",
        "runs/{study}/{pair}/teacher/0/model.safetensors",
        timed_student,
        EVALUATING,
        engine,
    output:
        "runs/{study}/{pair}/latency.json",
    log:
        "logs/{study}/{pair}/latency.log",
    conda:
        ENVIRONMENT
    # All that there are here, so that nothing else runs beside it; it uses one. A cluster gives a job its own, which must
    # not count the cores of its node: it may use as many as it asked for.
    threads: 1 if workflow.remote_exec else workflow.resource_settings.cores or 1
    resources:
        **needs("latency"),
    message:
        "Measure how long teacher and student of {wildcards.pair} take for an image"
    shell:
        "detdistill latency {wildcards.pair:q} --study {wildcards.study:q} > {log:q} 2>&1"
