/* anomalyd_mpi.h: every rank gets the root's verdict, and the endpoint that it can reach. The MPI is
 * tests/mpi_single/mpi.h; tests/e2e has a real one, on one node. */
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

/* What the daemon's rank 0, rank 4 of the job, has told. */
static void daemon_tells(const char *host, const char *here, const char *elsewhere)
{
    mpi_daemon_root = 4;
    mpi_rank = 1;
    memset(mpi_last_message, 0, sizeof mpi_last_message);
    mpi_last_length = 1280;
    memcpy(mpi_last_message, host, strlen(host));
    memcpy(mpi_last_message + 256, here, strlen(here));
    memcpy(mpi_last_message + 768, elsewhere, strlen(elsewhere));
}

static void rank_is_told_the_endpoint_for_its_node(void)
{
    char endpoint[ANOMALYD_MAX_ENDPOINT + 1];
    MPI_Comm simulation;
    daemon_tells("node7", "ipc://@a", "tcp://node7:5");
    CHECK_STATUS(anomalyd_mpi_split(3, &simulation, endpoint, sizeof endpoint), ANOMALYD_OK);
    CHECK(simulation == 1003 && strcmp(endpoint, "ipc://@a") == 0);
    daemon_tells("node71", "ipc://@a", "tcp://node71:5");
    CHECK_STATUS(anomalyd_mpi_split(0, &simulation, endpoint, sizeof endpoint), ANOMALYD_OK);
    CHECK(simulation == 1000 && strcmp(endpoint, "tcp://node71:5") == 0);
    daemon_tells("node71", "ipc://@a", "");
    CHECK_STATUS(anomalyd_mpi_split(0, &simulation, endpoint, sizeof endpoint), ANOMALYD_UNAVAILABLE);
    CHECK(simulation == 1000 && *endpoint == '\0');
    memset(mpi_last_message, 'x', 1280);
    CHECK_STATUS(anomalyd_mpi_split(0, &simulation, endpoint, sizeof endpoint), ANOMALYD_UNAVAILABLE);
    mpi_daemon_root = -1;
    CHECK_STATUS(anomalyd_mpi_split(0, &simulation, endpoint, sizeof endpoint), ANOMALYD_UNAVAILABLE);
    CHECK(simulation == 1000 && *endpoint == '\0');
}

static void end_of_the_simulation_is_told_by_a_barrier(void)
{
    char endpoint[ANOMALYD_MAX_ENDPOINT + 1];
    MPI_Comm simulation;
    daemon_tells("node7", "ipc://@a", "");
    mpi_at_end = NULL;
    CHECK_STATUS(anomalyd_mpi_split(3, &simulation, endpoint, sizeof endpoint), ANOMALYD_OK);
    CHECK(mpi_at_end != NULL && mpi_n_barriers == 0);
    CHECK(mpi_at_end(MPI_COMM_SELF, 5, NULL, NULL) == MPI_SUCCESS && mpi_n_barriers == 1);
    mpi_fails = 1;
    CHECK(mpi_at_end(MPI_COMM_SELF, 5, NULL, NULL) != MPI_SUCCESS && mpi_n_barriers == 1);
    mpi_fails = 0;
}

static void wrong_arguments_of_a_split_are_told_after_it_has_taken_part(void)
{
    char endpoint[ANOMALYD_MAX_ENDPOINT + 1];
    MPI_Comm simulation;
    daemon_tells("node7", "ipc://@a", "");
    CHECK_STATUS(anomalyd_mpi_split(-1, &simulation, endpoint, sizeof endpoint), ANOMALYD_INVALID);
    CHECK(simulation == MPI_COMM_NULL && *endpoint == '\0');
    CHECK_STATUS(anomalyd_mpi_split(ANOMALYD_MPI_COLOUR, &simulation, endpoint, sizeof endpoint), ANOMALYD_INVALID);
    CHECK(simulation == MPI_COMM_NULL);
    CHECK_STATUS(anomalyd_mpi_split(0, &simulation, endpoint, ANOMALYD_MAX_ENDPOINT), ANOMALYD_INVALID);
    CHECK(simulation == 1000 && *endpoint == '\0');
    CHECK_STATUS(anomalyd_mpi_split(0, &simulation, NULL, 0), ANOMALYD_INVALID);
    CHECK_STATUS(anomalyd_mpi_split(0, NULL, endpoint, sizeof endpoint), ANOMALYD_INVALID);
    mpi_fails = 1;
    CHECK_STATUS(anomalyd_mpi_split(0, &simulation, endpoint, sizeof endpoint), ANOMALYD_SYSTEM);
    mpi_fails = 0;
    CHECK(*endpoint == '\0');
}

int main(void)
{
    const char *const nothing[] = {NULL};
    peer_start(&server, nothing);
    RUN(other_ranks_get_the_verdict_of_the_root);
    RUN(root_without_a_client_is_invalid_on_every_rank);
    RUN(failing_mpi_is_a_system_failure_without_a_verdict);
    RUN(rank_is_told_the_endpoint_for_its_node);
    RUN(end_of_the_simulation_is_told_by_a_barrier);
    RUN(wrong_arguments_of_a_split_are_told_after_it_has_taken_part);
    peer_kill(&server);
    return check_result();
}
