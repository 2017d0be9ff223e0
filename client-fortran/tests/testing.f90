!> The tests' own tools: checks that count failures, and a tests/server.py of the C client.
module testing
   use, intrinsic :: iso_c_binding, only: c_int
   use, intrinsic :: iso_fortran_env, only: error_unit, int64, real64
   implicit none
   private
   public :: check, check_status, finish, now_ms, nap_ms, start_server, stop_server, signal_server, server_endpoint, &
             make_folder, remove_folder, argument
   integer :: n_failures = 0
   character(256) :: folder = ''
   character(256), protected :: server_endpoint = ''
   character(32) :: server_pid = ''

   interface
      function c_usleep(microseconds) bind(c, name='usleep') result(failure)
         import :: c_int
         integer(c_int), value :: microseconds
         integer(c_int) :: failure
      end function c_usleep
   end interface

contains

   subroutine check(truth, what)
      logical, intent(in) :: truth
      character(*), intent(in) :: what
      if (truth) return
      n_failures = n_failures + 1
      write (error_unit, '(2a)') 'not true: ', what
   end subroutine check

   subroutine check_status(found, wanted, what)
      integer, intent(in) :: found, wanted
      character(*), intent(in) :: what
      if (found == wanted) return
      n_failures = n_failures + 1
      write (error_unit, '(2a, i0, a, i0)') what, ': status ', found, ', expected ', wanted
   end subroutine check_status

   !> Ends the test program with the exit code that ctest looks at.
   subroutine finish()
      call remove_folder()
      if (n_failures > 0) then
         write (error_unit, '(i0, a)') n_failures, ' checks failed'
         stop 1
      end if
      write (error_unit, '(a)') 'ok'
   end subroutine finish

   function now_ms() result(ms)
      real(real64) :: ms
      integer(int64) :: count, rate
      call system_clock(count, rate)
      ms = 1e3_real64*real(count, real64)/real(rate, real64)
   end function now_ms

   subroutine nap_ms(ms)
      integer, intent(in) :: ms
      integer(c_int) :: ignored
      ignored = c_usleep(int(1000*ms, c_int))
   end subroutine nap_ms

   function argument(i) result(word)
      integer, intent(in) :: i
      character(:), allocatable :: word
      character(4096) :: buffer
      call get_command_argument(i, buffer)
      word = trim(buffer)
   end function argument

   !> A folder of this test's own, with a path short enough for sockets.
   function make_folder() result(path)
      character(:), allocatable :: path
      real :: number
      call random_init(.false., .false.)
      call random_number(number)
      write (folder, '(a, i0)') '/tmp/anomalyd-test-', int(1e9*number)
      call execute_command_line('mkdir -m 700 '//trim(folder))
      path = trim(folder)
   end function make_folder

   subroutine remove_folder()
      if (folder /= '') call execute_command_line('rm -rf '//trim(folder))
   end subroutine remove_folder

   !> Starts a server with these further options and waits until it is ready.
   subroutine start_server(options)
      character(*), intent(in) :: options
      integer :: unit, failure, attempt
      character(:), allocatable :: ready

      ready = trim(folder)//'/ready'
      call execute_command_line('rm -f '//ready)
      call execute_command_line(argument(1)//' '//argument(2)//' --vectors '//argument(3)//' --ready-file '//ready//' '// &
                                options//' >/dev/null &')
      failure = 1
      do attempt = 1, 400
         open (newunit=unit, file=ready, status='old', action='read', iostat=failure)
         if (failure == 0) exit
         call nap_ms(50)
      end do
      if (failure /= 0) then
         write (error_unit, '(3a)') 'the test server did not start: does ', argument(1), ' have zmq (Debian: python3-zmq)?'
         stop 99
      end if
      ! Not list-directed: an endpoint has slashes.
      read (unit, '(a)') server_endpoint
      close (unit)
      server_pid = server_endpoint(:index(server_endpoint, ' '))
      server_endpoint = server_endpoint(index(server_endpoint, ' ') + 1:)
   end subroutine start_server

   subroutine signal_server(name)
      character(*), intent(in) :: name
      call execute_command_line('kill -'//name//' '//trim(server_pid))
   end subroutine signal_server

   subroutine stop_server()
      call signal_server('KILL')
   end subroutine stop_server
end module testing
