"""Every run is one model trained by one process of one thread, so that as many train at once as there are cores.

Priorities start the longest remaining path first: teachers, for whom all others wait, then tuning, then distilled
students, then plain ones. Short evaluations fill the end.
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
    priority: 5
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        **needs("teacher"),
    message:
        "Train the teacher of {wildcards.pair}"
    shell:
        "detdistill teacher {wildcards.pair:q} --study {wildcards.study:q} > {log:q} 2>&1"


rule student:
    input:
        "data/{study}/manifest.json",
        student_from,
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
        **needs("student"),
    message:
        "Train a student of {wildcards.pair} without a teacher: {wildcards.plain}, seed {wildcards.seed}"
    shell:
        "detdistill student {wildcards.pair:q} {wildcards.plain:q} {wildcards.seed:q} --study {wildcards.study:q} > {log:q} 2>&1"


rule tune:
    input:
        "data/{study}/manifest.json",
        student_from,
        teaching,
        "params/{study}/tuning.yaml",
        "params/{study}/{pair}/student.yaml",
        "params/{study}/{pair}/{distilled}.yaml",
        TRAINING,
        source("", "tune"),
        engine,
        methods,
    output:
        multiext("runs/{study}/{pair}/{distilled}/tuning/", "tuning.json", "timing.json"),
    log:
        "logs/{study}/{pair}/{distilled}/tuning.log",
    priority: 4
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        **needs("tune"),
    message:
        "Find the weight of {wildcards.distilled} for {wildcards.pair}, on the validation split"
    shell:
        "detdistill tune {wildcards.pair:q} {wildcards.distilled:q} --study {wildcards.study:q} > {log:q} 2>&1"


rule distill:
    input:
        "data/{study}/manifest.json",
        student_from,
        teaching,
        weights,
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
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        **needs("distill"),
    message:
        "Distil a student of {wildcards.pair}: {wildcards.distilled}, seed {wildcards.seed}"
    shell:
        "detdistill distill {wildcards.pair:q} {wildcards.distilled:q} {wildcards.seed:q} --study {wildcards.study:q} > {log:q} 2>&1"
