#!/usr/bin/env nextflow

include { PREPARE    } from './subworkflows/prepare'
include { PRETRAINING } from './subworkflows/pretraining'
include { DOWNSTREAM } from './subworkflows/downstream'
include { SUMMARISE  } from './subworkflows/summarise'
include { FINGERPRINT } from './modules/fingerprint'

workflow {
    def schema = new ParameterSchema(file("${moduleDir}/../nextflow_schema.json").text)
    if (params.help) {
        log.info(schema.help())
        exit(0)
    }
    def settings = [:]
    try {
        settings = schema.settings(params)
    }
    catch (IllegalArgumentException wrong) {
        exit(2, wrong.message)
    }
    def outdir = file(settings.outdir).toAbsolutePath()
    if (!settings.outdir.contains('://') && !RunOutcome.canHold(outdir)) {
        exit(2, "--outdir ${settings.outdir}: is no folder that can be written to; name another, or change its permissions")
    }
    if (!settings.input && !settings.projects && !settings.gtex && !settings.encode) {
        exit(2, "nothing to work on: give --input SHEET (own files), --projects TCGA-BRCA,… (portal), or try -profile demo")
    }

    // val: code hash of every stage; a process runs again when the code that it imports was edited
    FINGERPRINT()
    ch_code = FINGERPRINT.out.hashes
        .map { hashes -> new groovy.json.JsonSlurper().parse(hashes.toFile()) }

    PREPARE(settings, ch_code)
    PRETRAINING(settings, ch_code, PREPARE.out.cohorts, PREPARE.out.splits, PREPARE.out.encoders)
    DOWNSTREAM(
        settings,
        ch_code,
        PREPARE.out.cohorts,
        PREPARE.out.splits,
        PREPARE.out.jobs,
        PRETRAINING.out.tokens,
        PRETRAINING.out.checkpoints
    )
    SUMMARISE(
        settings + [version: workflow.manifest.version, revision: workflow.commitId],
        ch_code,
        PREPARE.out.cohorts,
        PREPARE.out.diagnosis,
        PREPARE.out.splits,
        PRETRAINING.out.checkpoints,
        DOWNSTREAM.out.embeddings,
        DOWNSTREAM.out.predictions
    )

    workflow.onComplete = {
        if (workflow.success) {
            def own_mlflow = file("${moduleDir}/../.venv/bin/mlflow").toAbsolutePath().normalize()
            log.info("Done in ${workflow.duration}. Report: ${outdir}/report.html")
            log.info("All numbers in MLflow, at http://127.0.0.1:5000 after: cd ${outdir}/mlflow && ${own_mlflow.exists() ? own_mlflow : 'mlflow'} server --backend-store-uri sqlite:///mlflow.db --artifacts-destination ./mlartifacts --port 5000")
        }
        else if (!workflow.errorReport) {
            log.info("The run was interrupted. The same command with -resume goes on from here.")
        }
        else {
            def message = RunOutcome.message(workflow.errorReport)
            log.error(message ? "The run stopped. ${message}" : "The run stopped; the task's log is above.")
            log.info("When that is mended, the same command with -resume goes on from here.")
            RunOutcome.keepExitStatus(workflow.exitStatus)
        }
    }
}
