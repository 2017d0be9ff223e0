/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A simulation in one MPI job with the daemon, without the physics: simulation_c COLOUR RUN OUT PATH...
 *
 * Each path is a step. Each rank writes to OUT.RANK how the split went, and for each step
 *     STATUS LABEL ACTED RESTARTED STEP SCORE THRESHOLD MILLISECONDS INSTANCE
 * as probe.c does.
 */
#include <anomalyd_mpi.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    char endpoint[ANOMALYD_MAX_ENDPOINT + 1], name[4096];
    anomalyd_options options = ANOMALYD_OPTIONS_INIT;
    anomalyd_client *client = NULL;
    anomalyd_verdict verdict;
    anomalyd_status status;
    MPI_Comm simulation;
    FILE *out;
    int rank = -1, size = 0, idx;

    if (argc < 4)
        return 2;
    (void)MPI_Init(&argc, &argv);
    status = anomalyd_mpi_split(atoi(argv[1]), &simulation, endpoint, sizeof endpoint);
    if (simulation != MPI_COMM_NULL) {
        (void)MPI_Comm_rank(simulation, &rank);
        (void)MPI_Comm_size(simulation, &size);
    }
    (void)snprintf(name, sizeof name, "%s.%d", argv[3], rank);
    out = fopen(name, "w");
    if (out == NULL)
        return 3;
    (void)fprintf(out, "split %d rank %d of %d endpoint %s\n", (int)status, rank, size, endpoint);
    options.run = argv[2];
    options.timeout_ms = 60000;
    options.endpoint = endpoint;
    if (rank == 0 && status == ANOMALYD_OK && anomalyd_open(&options, &client) != ANOMALYD_OK)
        (void)fprintf(out, "open: %s\n", anomalyd_last_error(NULL));
    for (idx = 4; idx < argc && simulation != MPI_COMM_NULL; ++idx) {
        double begun = MPI_Wtime();
        (void)anomalyd_mpi_classify(simulation, 0, client, idx - 3, argv[idx], &verdict);
        (void)fprintf(out, "%d %s %d %d %lld %.17g %.17g %.3f %s\n", (int)verdict.status, anomalyd_label_name(verdict.label),
                      verdict.acted, verdict.restarted, (long long)verdict.step, verdict.score, verdict.threshold,
                      1e3 * (MPI_Wtime() - begun), *verdict.instance ? verdict.instance : "-");
    }
    anomalyd_close(client);
    (void)fclose(out);
    return MPI_Finalize();
}
