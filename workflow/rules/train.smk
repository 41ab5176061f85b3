"""Every run is one model trained by one process of one thread, so that as many train at once as there are cores.

Priorities start the longest remaining path first: what students start from and teachers, for whom all others wait,
then distilled students, then plain ones. Short evaluations fill the end.
"""


rule teacher:
    input:
        "data/{study}/manifest.json",
        teacher_from,
        "params/{study}/{pair}/teacher.yaml",
        TRAINING,
        engine,
    output:
        multiext("runs/{study}/{pair}/teacher/0/", *TRAINED),
    log:
        "logs/{study}/{pair}/teacher/0/train.log",
    priority: 4
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
    message:
        "Train the teacher of {wildcards.pair}"
    shell:
        "detdistill teacher {wildcards.pair} --study {wildcards.study} > {log} 2>&1"


rule start:
    input:
        "data/{study}/manifest.json",
        student_from,
        "params/{study}/{pair}/student.yaml",
        "params/{study}/{pair}/start.yaml",
        TRAINING,
        engine,
    output:
        multiext("runs/{study}/{pair}/start/0/", *TRAINED),
    log:
        "logs/{study}/{pair}/start/0/train.log",
    priority: 5
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
    message:
        "Train the weights that every student of {wildcards.pair} starts from"
    shell:
        "detdistill start {wildcards.pair} --study {wildcards.study} > {log} 2>&1"


rule student:
    input:
        "data/{study}/manifest.json",
        "runs/{study}/{pair}/start/0/model.safetensors",
        "params/{study}/{pair}/student.yaml",
        "params/{study}/{pair}/{plain}.yaml",
        TRAINING,
        engine,
    output:
        multiext("runs/{study}/{pair}/{plain}/{seed}/", *TRAINED),
    log:
        "logs/{study}/{pair}/{plain}/{seed}/train.log",
    priority: 2
    conda:
        ENVIRONMENT
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
        "runs/{study}/{pair}/start/0/model.safetensors",
        teacher,
        "params/{study}/{pair}/student.yaml",
        "params/{study}/{pair}/{distilled}.yaml",
        TRAINING,
        engines,
        methods,
    output:
        multiext("runs/{study}/{pair}/{distilled}/{seed}/", *TRAINED),
    log:
        "logs/{study}/{pair}/{distilled}/{seed}/train.log",
    priority: 3
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
    message:
        "Distil a student of {wildcards.pair}: {wildcards.distilled}, seed {wildcards.seed}"
    shell:
        "detdistill distill {wildcards.pair} {wildcards.distilled} {wildcards.seed} --study {wildcards.study} > {log} 2>&1"
