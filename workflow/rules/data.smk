"""The data set: images, annotations, and the manifest that every later step reads first."""


rule data:
    input:
        "params/{study}/data.yaml",
        READING,
        everything("data"),
    output:
        directory("data/{study}/images"),
        multiext("data/{study}/", "train.json", "val.json", "test.json", "manifest.json", "timing.json"),
    log:
        "logs/{study}/data.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        **needs("data"),
    message:
        "Make the images of {wildcards.study}, their annotations and the manifest"
    shell:
        "detdistill data --study {wildcards.study:q} > {log:q} 2>&1"
