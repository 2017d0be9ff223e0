/* An MPI of one process that records its broadcasts and can fail: enough to test anomalyd_mpi.h where there is no MPI.
 */
#ifndef MPI_H
#define MPI_H

#include <string.h>

typedef int MPI_Comm;
typedef int MPI_Datatype;
#define MPI_COMM_WORLD 91
#define MPI_SUCCESS 0
#define MPI_ERR_OTHER 15
#define MPI_BYTE 1
#define MPI_INT 4

/* What the test sets and looks at. */
static int mpi_rank, mpi_fails;
static unsigned char mpi_last_message[512];
static size_t mpi_last_length;

static inline int MPI_Comm_rank(MPI_Comm comm, int *rank)
{
    *rank = mpi_rank;
    return comm == MPI_COMM_WORLD ? MPI_SUCCESS : MPI_ERR_OTHER;
}

/* The root's message is kept, and given to the ranks that ask after it. */
static inline int MPI_Bcast(void *buffer, int count, MPI_Datatype type, int root, MPI_Comm comm)
{
    size_t length = (size_t)count * (size_t)type;
    if (mpi_fails || comm != MPI_COMM_WORLD || length > sizeof mpi_last_message)
        return MPI_ERR_OTHER;
    if (mpi_rank == root) {
        memcpy(mpi_last_message, buffer, length);
        mpi_last_length = length;
    } else {
        memcpy(buffer, mpi_last_message, mpi_last_length < length ? mpi_last_length : length);
    }
    return MPI_SUCCESS;
}

#endif
