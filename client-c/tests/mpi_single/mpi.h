/* An MPI of one process that records its broadcasts and can fail: enough to test anomalyd_mpi.h where there is no MPI.
 */
#ifndef MPI_H
#define MPI_H

#include <string.h>

typedef int MPI_Comm;
typedef int MPI_Datatype;
typedef int MPI_Op;
typedef int MPI_Request;
typedef int MPI_Status;
typedef int MPI_Comm_copy_attr_function(MPI_Comm, int, void *, void *, void *, int *);
typedef int MPI_Comm_delete_attr_function(MPI_Comm, int, void *, void *);
#define MPI_COMM_NULL 0
#define MPI_COMM_WORLD 91
#define MPI_COMM_SELF 92
#define MPI_SUCCESS 0
#define MPI_ERR_OTHER 15
#define MPI_UNDEFINED (-32766)
#define MPI_BYTE 1
#define MPI_UINT8_T 1
#define MPI_INT 4
#define MPI_INT32_T 4
#define MPI_MAX 1
#define MPI_MAX_PROCESSOR_NAME 256
#define MPI_STATUS_IGNORE ((MPI_Status *)0)
#define MPI_COMM_NULL_COPY_FN ((MPI_Comm_copy_attr_function *)0)

/* What the test sets and looks at. */
static int mpi_rank, mpi_fails, mpi_daemon_root = -1, mpi_n_barriers;
static unsigned char mpi_last_message[2048];
static size_t mpi_last_length;
static MPI_Comm_delete_attr_function *mpi_at_end;

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

static inline int MPI_Comm_split(MPI_Comm comm, int colour, int key, MPI_Comm *parted)
{
    *parted = colour == MPI_UNDEFINED ? MPI_COMM_NULL : 1000 + colour;
    return mpi_fails || comm != MPI_COMM_WORLD || key != mpi_rank ? MPI_ERR_OTHER : MPI_SUCCESS;
}

/* Of the daemon's root and this rank. */
static inline int MPI_Allreduce(const void *mine, void *all, int count, MPI_Datatype type, MPI_Op op, MPI_Comm comm)
{
    int value;
    if (mpi_fails || count != 1 || type != MPI_INT32_T || op != MPI_MAX || comm != MPI_COMM_WORLD)
        return MPI_ERR_OTHER;
    memcpy(&value, mine, sizeof value);
    if (mpi_daemon_root > value)
        value = mpi_daemon_root;
    memcpy(all, &value, sizeof value);
    return MPI_SUCCESS;
}

static inline int MPI_Comm_create_keyval(MPI_Comm_copy_attr_function *copy, MPI_Comm_delete_attr_function *at_end,
                                         int *key, void *extra)
{
    (void)copy;
    (void)extra;
    *key = 5;
    mpi_at_end = at_end;
    return mpi_fails ? MPI_ERR_OTHER : MPI_SUCCESS;
}

static inline int MPI_Comm_set_attr(MPI_Comm comm, int key, void *value)
{
    (void)value;
    return mpi_fails || comm != MPI_COMM_SELF || key != 5 ? MPI_ERR_OTHER : MPI_SUCCESS;
}

static inline int MPI_Get_processor_name(char *name, int *length)
{
    memcpy(name, "node7", 6);
    *length = 5;
    return mpi_fails ? MPI_ERR_OTHER : MPI_SUCCESS;
}

static inline int MPI_Ibarrier(MPI_Comm comm, MPI_Request *request)
{
    *request = 3;
    return mpi_fails || comm != MPI_COMM_WORLD ? MPI_ERR_OTHER : MPI_SUCCESS;
}

static inline int MPI_Wait(MPI_Request *request, MPI_Status *status)
{
    if (mpi_fails || *request != 3 || status != MPI_STATUS_IGNORE)
        return MPI_ERR_OTHER;
    ++mpi_n_barriers;
    return MPI_SUCCESS;
}

#endif
