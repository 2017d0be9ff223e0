/* anomalyd_mpi.h: every rank gets the root's verdict. The MPI is tests/mpi_single/mpi.h. */
#define _DEFAULT_SOURCE
#include "check.h"

#include <anomalyd_mpi.h>
#include <math.h>
#include <string.h>

static peer server;

static void other_ranks_get_the_verdict_of_the_root(void)
{
    anomalyd_client *client = open_at(server.endpoint, 3000, ANOMALYD_FAIL_OPEN);
    anomalyd_verdict asked, told;
    mpi_rank = 2;
    CHECK_STATUS(anomalyd_mpi_classify(MPI_COMM_WORLD, 2, client, 41, "/anomalous", &asked), ANOMALYD_OK);
    CHECK(asked.step == 41 && asked.label == ANOMALYD_ANOMALOUS && asked.acted == 1);
    mpi_rank = 0;
    CHECK_STATUS(anomalyd_mpi_classify(MPI_COMM_WORLD, 2, NULL, 0, NULL, &told), ANOMALYD_OK);
    CHECK(memcmp(&asked, &told, sizeof asked) == 0);
    CHECK_STATUS(anomalyd_mpi_classify(MPI_COMM_WORLD, 2, NULL, 0, NULL, NULL), ANOMALYD_INVALID);
    mpi_rank = 2;
    CHECK_STATUS(anomalyd_mpi_rewind(MPI_COMM_WORLD, 2, client, 40), ANOMALYD_OK);
    mpi_rank = 1;
    CHECK_STATUS(anomalyd_mpi_rewind(MPI_COMM_WORLD, 2, NULL, 40), ANOMALYD_OK);
    anomalyd_close(client);
}

static void root_without_a_client_is_invalid_on_every_rank(void)
{
    anomalyd_verdict verdict;
    mpi_rank = 0;
    CHECK_STATUS(anomalyd_mpi_classify(MPI_COMM_WORLD, 0, NULL, 5, "/ok", &verdict), ANOMALYD_INVALID);
    mpi_rank = 1;
    CHECK_STATUS(anomalyd_mpi_classify(MPI_COMM_WORLD, 0, NULL, 5, "/ok", &verdict), ANOMALYD_INVALID);
    CHECK_STATUS(anomalyd_mpi_rewind(MPI_COMM_WORLD, 1, NULL, 5), ANOMALYD_INVALID);
}

static void failing_mpi_is_a_system_failure_without_a_verdict(void)
{
    anomalyd_client *client = open_at(server.endpoint, 3000, ANOMALYD_FAIL_OPEN);
    anomalyd_verdict verdict;
    mpi_rank = 0;
    mpi_fails = 1;
    CHECK_STATUS(anomalyd_mpi_classify(MPI_COMM_WORLD, 0, client, 6, "/anomalous", &verdict), ANOMALYD_SYSTEM);
    CHECK(verdict.label == ANOMALYD_UNKNOWN && verdict.step == 6 && verdict.acted == 0 && isnan(verdict.score));
    CHECK_STATUS(anomalyd_mpi_rewind(MPI_COMM_WORLD, 0, client, 6), ANOMALYD_SYSTEM);
    CHECK_STATUS(anomalyd_mpi_rewind(7, 0, client, 6), ANOMALYD_SYSTEM);
    mpi_fails = 0;
    anomalyd_close(client);
}

int main(void)
{
    const char *const nothing[] = {NULL};
    peer_start(&server, nothing);
    RUN(other_ranks_get_the_verdict_of_the_root);
    RUN(root_without_a_client_is_invalid_on_every_rank);
    RUN(failing_mpi_is_a_system_failure_without_a_verdict);
    peer_kill(&server);
    return check_result();
}
