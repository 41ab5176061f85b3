"""Every run is one model trained by one process of one thread, so that as many train at once as there are cores.

Priorities start the longest remaining path first: teachers, for whom distilled students wait, then the distilled
students, then the plain ones, who wait for nobody. Short evaluations fill the end.
"""


rule teacher:
    input:
        "data/{study}/manifest.json",
        "params/{study}/{pair}/teacher.yaml",
        TRAINING,
        engine,
    output:
        multiext("runs/{study}/{pair}/teacher/0/", *TRAINED),
    log:
        "logs/{study}/{pair}/teacher/0/train.log",
    priority: 4
    threads: 1
    resources:
        mem_mb=2000,
    message:
        "Train the teacher of {wildcards.pair}"
    shell:
        "detdistill teacher {wildcards.pair} --study {wildcards.study} > {log} 2>&1"


rule student:
    input:
        "data/{study}/manifest.json",
        "params/{study}/{pair}/student.yaml",
        "params/{study}/{pair}/{plain}.yaml",
        TRAINING,
        engine,
    output:
        multiext("runs/{study}/{pair}/{plain}/{seed}/", *TRAINED),
    log:
        "logs/{study}/{pair}/{plain}/{seed}/train.log",
    priority: 2
    threads: 1
    resources:
        mem_mb=2000,
    message:
        "Train a student of {wildcards.pair} without a teacher: {wildcards.plain}, seed {wildcards.seed}"
    shell:
        "detdistill student {wildcards.pair} {wildcards.plain} {wildcards.seed} --study {wildcards.study} > {log} 2>&1"


rule distill:
    input:
        "data/{study}/manifest.json",
        "runs/{study}/{pair}/teacher/0/model.safetensors",
        "params/{study}/{pair}/teacher.yaml",
        "params/{study}/{pair}/student.yaml",
        "params/{study}/{pair}/{distilled}.yaml",
        TRAINING,
        engine,
        methods,
    output:
        multiext("runs/{study}/{pair}/{distilled}/{seed}/", *TRAINED),
    log:
        "logs/{study}/{pair}/{distilled}/{seed}/train.log",
    priority: 3
    threads: 1
    resources:
        mem_mb=2000,
    message:
        "Distil a student of {wildcards.pair}: {wildcards.distilled}, seed {wildcards.seed}"
    shell:
        "detdistill distill {wildcards.pair} {wildcards.distilled} {wildcards.seed} --study {wildcards.study} > {log} 2>&1"
