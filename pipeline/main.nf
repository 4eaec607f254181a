#!/usr/bin/env nextflow

include { PREPARE    } from './subworkflows/prepare'
include { PRETRAINING } from './subworkflows/pretraining'
include { DOWNSTREAM } from './subworkflows/downstream'
include { SUMMARISE  } from './subworkflows/summarise'
include { FINGERPRINT } from './modules/fingerprint'
include { PROMOTE    } from './modules/promote'

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
    def problem = Champion.problem(settings) ?: ModelChoice.problem(settings)
    if (problem) {
        exit(2, problem)
    }
    if (!settings.input && !settings.projects && !settings.gtex && !settings.encode) {
        exit(2, "nothing to work on: give --input SHEET (own files), --projects TCGA-BRCA,… (portal), or try -profile demo")
    }

    if (nextflow.Global.config.process?.executor == 'slurm') {
        // Read by conf/base.config and conf/slurm.config when a task is made.
        nextflow.Global.config.site = SlurmSite.limits(SlurmSite.ask())
        problem = SlurmSite.problem(nextflow.Global.config.site, settings)
        if (problem) {
            exit(2, problem)
        }
    }

    // val: code hash of every stage; a process runs again when the code that it imports was edited
    FINGERPRINT()
    ch_code = FINGERPRINT.out.hashes
        .map { hashes -> new groovy.json.JsonSlurper().parse(hashes.toFile()) }

    settings = settings + [modalities: ModelChoice.modalities(settings)]
    def is_retraining = settings.mode == 'retrain'
    if (is_retraining) {
        settings = settings + Champion.settings(settings, file(settings.champion))
    }
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
        DOWNSTREAM.out.predictions,
        DOWNSTREAM.out.findings
    )

    if (is_retraining) {
        PROMOTE(
            Champion.predictions(file(settings.champion)).collect { folder -> file(folder) },
            Champion.encoders(file(settings.champion)).collect { folder -> file(folder) },
            DOWNSTREAM.out.predictions.toSortedList { a, b -> a.name <=> b.name }.filter { it },
            PRETRAINING.out.checkpoints.map { _meta, folder -> folder }.toSortedList { a, b -> a.name <=> b.name }.filter { it },
            PREPARE.out.cohorts,
            PREPARE.out.changes,
            settings.subMap(['margin', 'bootstrap', 'seed', 'mlflow_uri']),
            ch_code.map { code -> code.promote }
        )
    }

    workflow.onComplete = {
        file("${outdir}/pipeline_info").mkdirs()
        file("${outdir}/pipeline_info/run.json").text = RunOutcome.facts(workflow, settings)
        if (workflow.success && !workflow.stubRun && outdir.resolve('report.html').exists()) {
            def cost = RunCost.command(settings, outdir, moduleDir)
            def totals = RunCost.add(cost, outdir)
            log.info("What it took: ${totals ?: cost.join(' ')}")
        }
        if (workflow.success && is_retraining) {
            log.info("Done in ${workflow.duration}. ${Champion.outcome(outdir)}")
            def left = Champion.registryProblem(settings, outdir)
            if (left) {
                log.warn(left)
            }
        }
        else if (workflow.success) {
            log.info("Done in ${workflow.duration}. Report: ${outdir}/report.html")
            log.info("All numbers in MLflow, at http://127.0.0.1:5000 after: cd ${outdir}/mlflow && ${RunOutcome.program('mlflow', moduleDir)} server --backend-store-uri sqlite:///mlflow.db --artifacts-destination ./mlartifacts --port 5000")
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
