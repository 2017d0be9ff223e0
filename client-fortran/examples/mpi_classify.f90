!> One rank asks, all ranks act: mpiexec -n 4 mpi_classify FIRST_STEP PATH..., a step for each path.
!>
!> Fortran has no header-only helper as anomalyd_mpi.h is for C, since a module must be compiled with the site's mpi_f08; copy
!> classify_on_all into the simulation instead.
program mpi_classify
   use, intrinsic :: iso_fortran_env, only: int64
   use mpi_f08
   use anomalyd
   implicit none
   type(anomalyd_client) :: watch
   type(anomalyd_verdict) :: verdict
   character(anomalyd_max_path) :: word
   integer(int64) :: step
   integer :: rank, i, failure

   call MPI_Init()
   call MPI_Comm_rank(MPI_COMM_WORLD, rank)
   ! A client that cannot be opened gives verdicts with the status anomalyd_invalid, and the run goes on.
   if (rank == 0) call watch%open(run='mpi_classify')
   call get_command_argument(1, word)
   read (word, *, iostat=failure) step
   if (failure /= 0) step = 0
   do i = 2, command_argument_count()
      call get_command_argument(i, word)
      call classify_on_all(watch, step, word, verdict)
      print '(3(a, i0), 1x, a)', 'rank ', rank, ' step ', verdict%step, ' status ', verdict%status, &
         anomalyd_label_name(verdict%label)
      ! if (verdict%act): every rank restores its part of the checkpoint here; rank 0 then calls watch%rewind.
      step = step + 1
   end do
   call watch%close()
   call MPI_Finalize()

contains

   !> Ask on rank 0 and give all ranks of MPI_COMM_WORLD its verdict. All of them make this call.
   subroutine classify_on_all(watch, step, path, verdict)
      type(anomalyd_client), intent(in) :: watch
      integer(int64), intent(in) :: step
      character(*), intent(in) :: path
      type(anomalyd_verdict), intent(out) :: verdict

      if (rank == 0) call watch%classify(step, path, verdict)
      call MPI_Bcast(verdict%label, 1, MPI_INTEGER, 0, MPI_COMM_WORLD)
      call MPI_Bcast(verdict%act, 1, MPI_LOGICAL, 0, MPI_COMM_WORLD)
      call MPI_Bcast(verdict%status, 1, MPI_INTEGER, 0, MPI_COMM_WORLD)
      call MPI_Bcast(verdict%score, 1, MPI_DOUBLE_PRECISION, 0, MPI_COMM_WORLD)
      call MPI_Bcast(verdict%threshold, 1, MPI_DOUBLE_PRECISION, 0, MPI_COMM_WORLD)
      call MPI_Bcast(verdict%step, 1, MPI_INTEGER8, 0, MPI_COMM_WORLD)
      call MPI_Bcast(verdict%instance, len(verdict%instance), MPI_CHARACTER, 0, MPI_COMM_WORLD)
      call MPI_Bcast(verdict%restarted, 1, MPI_LOGICAL, 0, MPI_COMM_WORLD)
      call MPI_Bcast(verdict%text, len(verdict%text), MPI_CHARACTER, 0, MPI_COMM_WORLD)
   end subroutine classify_on_all
end program mpi_classify
