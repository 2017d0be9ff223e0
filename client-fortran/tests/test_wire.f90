!> The replies of proto/vectors.txt, through a real socket and the C library: test_wire PYTHON SERVER VECTORS.
program test_wire
   use, intrinsic :: ieee_arithmetic, only: ieee_is_nan
   use, intrinsic :: iso_fortran_env, only: error_unit, int64, real64
   use anomalyd
   use testing
   implicit none

   !> A reply, as far as a verdict has it.
   type :: vector
      character(256) :: name = '', message = '', expect = '', verdict = ''
      integer :: status = 0
      real(real64) :: score = 0, threshold = 0
      integer(int64) :: step = 4
      logical :: has_step = .false.
   end type vector

   type(anomalyd_client) :: watch
   type(vector) :: wanted
   character(:), allocatable :: folder
   character(256) :: line, key, word
   integer :: unit, failure, n_good, n_bad, stat

   folder = make_folder()
   call start_server('--bind ipc://'//folder//'/s')
   call watch%open(run='r', endpoint=server_endpoint, timeout_ms=10000, policy=anomalyd_fail_closed, stat=stat)
   call check_status(stat, anomalyd_ok, 'open')
   n_good = 0
   n_bad = 0
   open (newunit=unit, file=argument(3), status='old', action='read')
   do
      read (unit, '(a)', iostat=failure) line
      if (failure /= 0) exit
      if (line == '' .or. line(1:1) == '#') cycle
      word = ''
      read (line, *, iostat=failure) key, word
      select case (key)
      case ('vector')
         wanted = vector()
         wanted%name = word
      case ('message')
         wanted%message = word
      case ('expect')
         wanted%expect = word
      case ('verdict')
         wanted%verdict = word
      case ('status')
         read (word, *) wanted%status
      case ('score')
         read (word, *) wanted%score
      case ('threshold')
         read (word, *) wanted%threshold
      case ('step')
         wanted%has_step = word /= '-'
         if (wanted%has_step) read (word, *) wanted%step
      case ('end')
         if (wanted%message == 'reply') call ask()
      end select
   end do
   close (unit)
   write (error_unit, '(2(i0, a))') n_good, ' replies understood, ', n_bad, ' refused'
   call check(n_good >= 40 .and. n_bad >= 40, 'the vectors were found')
   call watch%close()
   call stop_server()
   call finish()

contains

   subroutine ask()
      type(anomalyd_verdict) :: verdict

      ! For no request, or for one that has no step: client-c/tests/test_wire.c sees to these.
      if (wanted%expect == 'ok' .and. .not. wanted%has_step) return
      select case (wanted%name)
      case ('reply-without-request-id', 'bad-reply-id-of-65-bytes', 'bad-reply-no-frames')
         return
      end select
      call watch%classify(wanted%step, '/vector/'//trim(wanted%name), verdict, stat)
      if (wanted%expect == 'bad') then
         n_bad = n_bad + 1
         call check_status(stat, anomalyd_bad_reply, wanted%name)
         call check(verdict%label == anomalyd_unknown .and. verdict%act, wanted%name//' gave a verdict')
      else
         n_good = n_good + 1
         call check_status(stat, wanted%status, wanted%name)
         call check(anomalyd_label_name(verdict%label) == wanted%verdict, trim(wanted%name)//': label')
         call check(same(verdict%score, wanted%score) .and. same(verdict%threshold, wanted%threshold), &
                    trim(wanted%name)//': numbers')
         call check(verdict%step == wanted%step, trim(wanted%name)//': step')
      end if
   end subroutine ask

   !> Whether two numbers have the same bits, but for the bits of a NaN.
   pure function same(a, b)
      real(real64), intent(in) :: a, b
      logical :: same
      same = (ieee_is_nan(a) .and. ieee_is_nan(b)) .or. transfer(a, 0_int64) == transfer(b, 0_int64)
   end function same
end program test_wire
