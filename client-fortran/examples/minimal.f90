!> Asks about one image: minimal STEP PATH, with ANOMALYD_ENDPOINT or ANOMALYD_ENDPOINT_FILE set.
program minimal
   use, intrinsic :: iso_fortran_env, only: int64
   use anomalyd
   implicit none
   type(anomalyd_client) :: watch
   type(anomalyd_verdict) :: verdict
   character(anomalyd_max_path) :: word, path
   integer(int64) :: step
   integer :: failure

   call get_command_argument(1, word)
   call get_command_argument(2, path)
   read (word, *, iostat=failure) step
   if (failure /= 0 .or. path == '') then
      print '(a)', 'usage: minimal STEP PATH'
   else
      call watch%open(run='minimal')
      call watch%classify(step, path, verdict)
      print '(i0, 1x, a, 2(1x, a, 1x, g0), 1x, a)', verdict%status, anomalyd_label_name(verdict%label), 'score', verdict%score, &
         'threshold', verdict%threshold, trim(verdict%text)
      call watch%close()
   end if
end program minimal
