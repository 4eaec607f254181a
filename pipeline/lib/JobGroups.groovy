import java.nio.file.Path

/** Jobs of one stage that share a task, so that starting it does not cost more than its work. */
class JobGroups {

    /**
     * Jobs in order, in groups that have up to `samples` samples together; a job with more stands alone. 0: each alone.
     * The same jobs give the same groups, so that -resume finds them.
     */
    static List<List<Map>> of(List<Map> jobs, int samples) {
        def groups = []
        def room = 0
        jobs.each { job ->
            def size = job.n_samples as int
            if (!groups || size > room) {
                groups << []
                room = samples
            }
            groups.last() << job
            room -= size
        }
        return groups
    }

    /** Each job with its own folder. */
    static List<List> withFolders(List<Map> jobs, List<Path> folders) {
        return jobs.collect { job -> [job, folders.find { folder -> folder.fileName.toString() == job.id }] }
    }

    /** How a task is called: by its job, or by its first and the number of the others. */
    static String name(List<Map> jobs) {
        return jobs.size() == 1 ? jobs[0].id : "${jobs[0].id} and ${jobs.size() - 1} more".toString()
    }
}
