"""The study's DAG for `snakemake`; dvc.yaml is the same DAG for `dvc repro`. Another study: `--config study=NAME`."""

STUDY = str(config.get("study", "digits"))


report: "workflow/report/workflow.rst"


include: "workflow/rules/lock.smk"
include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        f"reports/{STUDY}.pdf",


rule cnn:
    input:
        results(half(transformer=False)),


rule transformer:
    input:
        results(half(transformer=True)),
