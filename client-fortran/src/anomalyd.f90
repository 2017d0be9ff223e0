! SPDX-License-Identifier: MIT OR Apache-2.0

!> Asks an anomalyd daemon whether the images of a running simulation are normal.
!>
!> A thin layer over libanomalyd; one source file, to be compiled with the simulation's own compiler.
!>
!>     type(anomalyd_client) :: watch
!>     type(anomalyd_verdict) :: verdict
!>     call watch%open(run="run_a")
!>     call watch%classify(step, "entropy_0733.png", verdict)
!>     if (verdict%act) call restore_checkpoint()
!>     call watch%close()
!>
!> No procedure prints, stops the program, or lasts longer than its time-out. `stat` receives how the call ended, `errmsg` why
!> it did not end with `anomalyd_ok` (blank where it did); a program without them looks at the verdict. Trailing blanks of
!> strings do not count. A client belongs to the thread and the process that opened it. With MPI one rank asks and broadcasts
!> the verdict; see examples/mpi_classify.f90.
module anomalyd
   use, intrinsic :: iso_c_binding, only: c_associated, c_char, c_double, c_f_pointer, c_int, c_int32_t, c_int64_t, c_loc, &
                                          c_null_char, c_null_ptr, c_ptr, c_size_t, c_sizeof
   use, intrinsic :: iso_fortran_env, only: int32, int64, int8, real32, real64
   implicit none
   private

   ! How a call ended. Those below 100 happen on this side, the others are the daemon's (PROTOCOL.md, section 8).
   integer, parameter, public :: anomalyd_timeout = 1          !< a daemon is there, but no reply came in time
   integer, parameter, public :: anomalyd_unavailable = 2      !< no daemon answers at the endpoint
   integer, parameter, public :: anomalyd_invalid = 3          !< an argument is wrong, or the client is not open
   integer, parameter, public :: anomalyd_no_memory = 4        !< memory could not be had
   integer, parameter, public :: anomalyd_bad_reply = 5        !< what came does not follow PROTOCOL.md
   integer, parameter, public :: anomalyd_stale_endpoint = 6   !< the endpoint file was left by a daemon that is gone
   integer, parameter, public :: anomalyd_system = 7           !< the operating system refused something
   integer, parameter, public :: anomalyd_busy = 8             !< the submitted request has no verdict yet
   integer, parameter, public :: anomalyd_ok = 200             !< done: take the verdict
   integer, parameter, public :: anomalyd_malformed = 400      !< the daemon could not read the request
   integer, parameter, public :: anomalyd_forbidden = 403      !< the path lies outside the allowed roots, or is not readable
   integer, parameter, public :: anomalyd_not_found = 404      !< no such file or model, or no such run or step to label
   integer, parameter, public :: anomalyd_wrong_socket = 405   !< the endpoint is the daemon's control socket
   integer, parameter, public :: anomalyd_deadline_passed = 408 !< the deadline passed before the daemon began
   integer, parameter, public :: anomalyd_out_of_order = 409   !< the daemon no longer remembers its state at that step
   integer, parameter, public :: anomalyd_too_large = 413      !< the file or the image exceeds a limit
   integer, parameter, public :: anomalyd_unsupported = 415    !< not a supported image, or not of the run's dimensions
   integer, parameter, public :: anomalyd_undecodable = 422    !< truncated or damaged; perhaps still being written
   integer, parameter, public :: anomalyd_overloaded = 429     !< the daemon's queue is full
   integer, parameter, public :: anomalyd_internal = 500       !< the daemon's fault
   integer, parameter, public :: anomalyd_not_offered = 501    !< this daemon does not do that
   integer, parameter, public :: anomalyd_not_ready = 503      !< the daemon is starting or draining
   integer, parameter, public :: anomalyd_version = 505        !< the daemon does not speak this protocol version

   ! What is said of an image.
   integer, parameter, public :: anomalyd_normal = 0
   integer, parameter, public :: anomalyd_anomalous = 1
   integer, parameter, public :: anomalyd_unknown = 2          !< a young model (anomalyd_ok), or any other status

   ! What to do when a call ends without anomalyd_ok.
   integer, parameter, public :: anomalyd_fail_open = 0        !< go on
   integer, parameter, public :: anomalyd_fail_closed = 1      !< treat the image as anomalous

   ! Longest strings, in bytes, and longest time-out, ms.
   integer, parameter, public :: anomalyd_max_path = 4096
   integer, parameter, public :: anomalyd_max_run = 128
   integer, parameter, public :: anomalyd_max_model = 128
   integer, parameter, public :: anomalyd_max_stream = 128
   integer, parameter, public :: anomalyd_max_text = 1024
   integer, parameter, public :: anomalyd_max_instance = 64
   integer, parameter, public :: anomalyd_max_endpoint = 511
   integer, parameter, public :: anomalyd_max_ipc_path = 107
   integer, parameter, public :: anomalyd_max_timeout_ms = 86400000

   ! A quiet NaN by its bits: IEEE_VALUE is no constant expression.
   real(real64), parameter :: nan = transfer(9221120237041090560_int64, 1.0_real64)

   !> What became of one image. Always filled in, whatever the status.
   type, public :: anomalyd_verdict
      !> anomalyd_normal, anomalyd_anomalous, or anomalyd_unknown unless the daemon said otherwise.
      integer :: label = anomalyd_unknown
      !> Treat the image as anomalous: the label says so, or there is no verdict and the policy is anomalyd_fail_closed. A
      !> young model (anomalyd_ok, anomalyd_unknown) is .false. under either policy.
      logical :: act = .false.
      !> How the call ended.
      integer :: status = anomalyd_invalid
      !> Dimensionless; higher is more anomalous; NaN where there is none.
      real(real64) :: score = nan
      !> The label is anomalyd_anomalous if score > threshold; NaN where there is none.
      real(real64) :: threshold = nan
      !> The time step that was asked for.
      integer(int64) :: step = 0_int64
      !> Names the life of the daemon process that answered; blank where none did.
      character(anomalyd_max_instance) :: instance = ''
      !> The daemon was restarted since this client's last verdict from it.
      logical :: restarted = .false.
      !> The daemon's line for a person; for a failure, why.
      character(anomalyd_max_text) :: text = ''
   end type anomalyd_verdict

   !> A connection to a daemon on behalf of one simulation run. It is closed by hand, not by a finaliser. A copy of an open
   !> client is a closed one.
   type, public :: anomalyd_client
      private
      type(c_ptr) :: handle = c_null_ptr
      integer :: policy = anomalyd_fail_open
   contains
      procedure :: open => client_open
      procedure :: close => client_close
      procedure :: is_open => client_is_open
      generic :: classify => classify_int32, classify_int64
      generic :: classify_field => field2_real32, field2_real64, field3_real32, field3_real64, &
         field2_real32_int32, field2_real64_int32, field3_real32_int32, field3_real64_int32
      generic :: submit => submit_int32, submit_int64
      procedure :: poll => client_poll
      procedure :: wait => client_wait
      generic :: rewind => rewind_int32, rewind_int64
      generic :: label_step => label_int32, label_int64
      procedure :: ping => client_ping
      procedure :: detail => client_detail
      procedure :: heatmap => client_heatmap
      procedure, private :: classify_int32, classify_int64, submit_int32, submit_int64
      procedure, private :: field2_real32, field2_real64, field3_real32, field3_real64
      procedure, private :: field2_real32_int32, field2_real64_int32, field3_real32_int32, field3_real64_int32
      procedure, private :: rewind_int32, rewind_int64, label_int32, label_int64
      procedure, private :: copy_closed
      generic :: assignment(=) => copy_closed
   end type anomalyd_client

   public :: anomalyd_strerror, anomalyd_label_name, anomalyd_library_version

   ! The structs of anomalyd.h, public for test_abi, which compares them; nothing else needs them.
   type, bind(c), public :: anomalyd_c_options
      integer(c_size_t) :: size = 0
      type(c_ptr) :: endpoint = c_null_ptr, run = c_null_ptr, model = c_null_ptr
      integer(c_int32_t) :: timeout_ms = 0, connect_timeout_ms = 0
      integer(c_int) :: policy = 0, want_heatmap = 0
      type(c_ptr) :: client_key_file = c_null_ptr, server_key_file = c_null_ptr
   end type anomalyd_c_options

   type, bind(c), public :: anomalyd_c_verdict
      integer(c_int64_t) :: step
      real(c_double) :: score, threshold
      integer(c_int) :: status, label, acted, restarted
      character(kind=c_char) :: instance(anomalyd_max_instance + 1)
   end type anomalyd_c_verdict

   interface
      function c_open(options, client) bind(c, name='anomalyd_open') result(status)
         import :: c_int, anomalyd_c_options, c_ptr
         type(anomalyd_c_options), intent(in) :: options
         type(c_ptr), intent(out) :: client
         integer(c_int) :: status
      end function c_open

      subroutine c_close(client) bind(c, name='anomalyd_close')
         import :: c_ptr
         type(c_ptr), value :: client
      end subroutine c_close

      function c_classify(client, step, path, verdict) bind(c, name='anomalyd_classify') result(status)
         import :: c_char, c_int, c_int64_t, c_ptr, anomalyd_c_verdict
         type(c_ptr), value :: client
         integer(c_int64_t), value :: step
         character(kind=c_char), intent(in) :: path(*)
         type(anomalyd_c_verdict), intent(out) :: verdict
         integer(c_int) :: status
      end function c_classify

      function c_classify_field(client, step, values, dtype, n_extents, extents, verdict) &
         bind(c, name='anomalyd_classify_field') result(status)
         import :: c_int, c_int64_t, c_ptr, c_size_t, anomalyd_c_verdict
         type(c_ptr), value :: client
         integer(c_int64_t), value :: step
         type(c_ptr), value :: values
         integer(c_int), value :: dtype, n_extents
         integer(c_size_t), intent(in) :: extents(*)
         type(anomalyd_c_verdict), intent(out) :: verdict
         integer(c_int) :: status
      end function c_classify_field

      function c_submit(client, step, path) bind(c, name='anomalyd_submit') result(status)
         import :: c_char, c_int, c_int64_t, c_ptr
         type(c_ptr), value :: client
         integer(c_int64_t), value :: step
         character(kind=c_char), intent(in) :: path(*)
         integer(c_int) :: status
      end function c_submit

      function c_poll(client, verdict) bind(c, name='anomalyd_poll') result(status)
         import :: c_int, c_ptr, anomalyd_c_verdict
         type(c_ptr), value :: client
         type(anomalyd_c_verdict), intent(out) :: verdict
         integer(c_int) :: status
      end function c_poll

      function c_wait(client, verdict) bind(c, name='anomalyd_wait') result(status)
         import :: c_int, c_ptr, anomalyd_c_verdict
         type(c_ptr), value :: client
         type(anomalyd_c_verdict), intent(out) :: verdict
         integer(c_int) :: status
      end function c_wait

      function c_rewind(client, step) bind(c, name='anomalyd_rewind') result(status)
         import :: c_int, c_int64_t, c_ptr
         type(c_ptr), value :: client
         integer(c_int64_t), value :: step
         integer(c_int) :: status
      end function c_rewind

      function c_set_stream(client, stream) bind(c, name='anomalyd_set_stream') result(status)
         import :: c_int, c_char, c_ptr
         type(c_ptr), value :: client
         character(kind=c_char), intent(in) :: stream(*)
         integer(c_int) :: status
      end function c_set_stream

      function c_label_step(client, step, label) bind(c, name='anomalyd_label_step') result(status)
         import :: c_int, c_int64_t, c_ptr
         type(c_ptr), value :: client
         integer(c_int64_t), value :: step
         integer(c_int), value :: label
         integer(c_int) :: status
      end function c_label_step

      function c_ping(client) bind(c, name='anomalyd_ping') result(status)
         import :: c_int, c_ptr
         type(c_ptr), value :: client
         integer(c_int) :: status
      end function c_ping

      function c_detail(client, length) bind(c, name='anomalyd_detail') result(json)
         import :: c_ptr, c_size_t
         type(c_ptr), value :: client
         integer(c_size_t), intent(out) :: length
         type(c_ptr) :: json
      end function c_detail

      function c_heatmap(client, length) bind(c, name='anomalyd_heatmap') result(png)
         import :: c_ptr, c_size_t
         type(c_ptr), value :: client
         integer(c_size_t), intent(out) :: length
         type(c_ptr) :: png
      end function c_heatmap

      function c_text(client) bind(c, name='anomalyd_text') result(text)
         import :: c_ptr
         type(c_ptr), value :: client
         type(c_ptr) :: text
      end function c_text

      function c_last_error(client) bind(c, name='anomalyd_last_error') result(words)
         import :: c_ptr
         type(c_ptr), value :: client
         type(c_ptr) :: words
      end function c_last_error

      function c_strerror(status) bind(c, name='anomalyd_strerror') result(words)
         import :: c_int, c_ptr
         integer(c_int), value :: status
         type(c_ptr) :: words
      end function c_strerror

      function c_label_name(label) bind(c, name='anomalyd_label_name') result(name)
         import :: c_int, c_ptr
         integer(c_int), value :: label
         type(c_ptr) :: name
      end function c_label_name

      function c_library_version() bind(c, name='anomalyd_library_version') result(version)
         import :: c_ptr
         type(c_ptr) :: version
      end function c_library_version

      pure function c_strlen(text) bind(c, name='strlen') result(length)
         import :: c_ptr, c_size_t
         type(c_ptr), intent(in), value :: text
         integer(c_size_t) :: length
      end function c_strlen
   end interface

contains

   !> Open the client. It checks the arguments and begins to connect, but waits for no daemon: one that starts later is found
   !> by the calls. An open client is refused: close it first.
   subroutine client_open(self, run, endpoint, model, timeout_ms, connect_timeout_ms, policy, want_heatmap, client_key_file, &
                          server_key_file, stat, errmsg)
      class(anomalyd_client), intent(inout) :: self
      !> Name of the simulation run: letters, digits, "-_.:". Blank: none; a fitted model judges each image alone.
      character(*), intent(in) :: run
      !> "ipc:///path" or "tcp://host:port". Absent or blank: the variable ANOMALYD_ENDPOINT, else the file of
      !> ANOMALYD_ENDPOINT_FILE.
      character(*), intent(in), optional :: endpoint
      !> Name of the fitted model. Absent or blank: the daemon's.
      character(*), intent(in), optional :: model
      !> Longest duration of a call, ms. Absent or 0: 5000.
      integer, intent(in), optional :: timeout_ms
      !> How long a call waits while there is no connection, ms. Absent or 0: 1000.
      integer, intent(in), optional :: connect_timeout_ms
      !> anomalyd_fail_open (where absent) or anomalyd_fail_closed.
      integer, intent(in), optional :: policy
      !> Ask for the heat map, see heatmap.
      logical, intent(in), optional :: want_heatmap
      !> CURVE: file with the client's key pair; file with the daemon's public key.
      character(*), intent(in), optional :: client_key_file, server_key_file
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg
      character(kind=c_char), allocatable, target :: c_run(:), c_endpoint(:), c_model(:), c_client_key(:), c_server_key(:)
      type(anomalyd_c_options) :: options
      type(c_ptr) :: handle
      integer :: status
      logical :: good

      good = .true.
      call to_c(run, c_run, good)
      call to_c(endpoint, c_endpoint, good)
      call to_c(model, c_model, good)
      call to_c(client_key_file, c_client_key, good)
      call to_c(server_key_file, c_server_key, good)
      if (c_associated(self%handle)) then
         call report(anomalyd_invalid, 'the client is open already: close it first', stat, errmsg)
         return
      end if
      self%policy = anomalyd_fail_open
      if (present(policy)) options%policy = int(policy, c_int)
      if (options%policy == anomalyd_fail_closed) self%policy = anomalyd_fail_closed
      if (.not. good) then
         call report(anomalyd_invalid, 'an argument of open has a NUL character in it', stat, errmsg)
         return
      end if

      options%size = c_sizeof(options)
      options%run = c_loc(c_run)
      options%endpoint = c_loc(c_endpoint)
      options%model = c_loc(c_model)
      options%client_key_file = c_loc(c_client_key)
      options%server_key_file = c_loc(c_server_key)
      if (present(timeout_ms)) options%timeout_ms = milliseconds(timeout_ms)
      if (present(connect_timeout_ms)) options%connect_timeout_ms = milliseconds(connect_timeout_ms)
      if (present(want_heatmap)) options%want_heatmap = merge(1_c_int, 0_c_int, want_heatmap)
      status = int(c_open(options, handle))
      if (status == anomalyd_ok) then
         self%handle = handle
         call report(status, '', stat, errmsg)
      else
         call report(status, to_fortran(c_last_error(c_null_ptr)), stat, errmsg)
      end if
   end subroutine client_open

   !> Close the client. Harmless if it is closed. It waits for no daemon; a request in flight is given up.
   subroutine client_close(self)
      class(anomalyd_client), intent(inout) :: self

      if (c_associated(self%handle)) call c_close(self%handle)
      self%handle = c_null_ptr
   end subroutine client_close

   !> Whether the client is open.
   pure function client_is_open(self) result(is_open)
      class(anomalyd_client), intent(in) :: self
      logical :: is_open

      is_open = c_associated(self%handle)
   end function client_is_open

   !> Ask whether the image of one time step is normal, and wait for the verdict.
   !>
   !> A daemon that is absent or slow does not stop the run: the call returns within the client's time-out with the label
   !> `anomalyd_unknown`. `step` is of either integer kind.
   !>
   !>     call watch%classify(step, "entropy_0733.png", verdict)
   !>     if (verdict%label == anomalyd_anomalous) call restore_checkpoint()
   subroutine classify_int64(self, step, path, verdict, stat, errmsg, stream)
      class(anomalyd_client), intent(in) :: self
      !> Time step of the image; one at or before the newest judged step means that the simulation went back.
      integer(int64), intent(in) :: step
      !> Path of the image as the daemon sees it; a relative one is completed with the working directory.
      character(*), intent(in) :: path
      type(anomalyd_verdict), intent(out) :: verdict
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg
      !> Which of several outputs per step (variables, slices) the image is: letters, digits, "-_.:". Absent or blank: the
      !> run's default stream. Each stream is compared with its own images.
      character(*), intent(in), optional :: stream
      character(kind=c_char), allocatable :: c_path(:)
      type(anomalyd_c_verdict) :: answer
      integer(c_int) :: status
      logical :: good

      good = .true.
      call to_c(path, c_path, good)
      if (.not. names_stream(self, stream)) then
         verdict%step = step
         call refuse(self, good, verdict, stat, errmsg, to_fortran(c_last_error(self%handle)))
      else if (good .and. c_associated(self%handle)) then
         status = c_classify(self%handle, int(step, c_int64_t), c_path, answer)
         call take(self, answer, verdict, stat, errmsg)
      else
         verdict%step = step
         call refuse(self, good, verdict, stat, errmsg)
      end if
   end subroutine classify_int64

   subroutine classify_int32(self, step, path, verdict, stat, errmsg, stream)
      class(anomalyd_client), intent(in) :: self
      integer(int32), intent(in) :: step
      character(*), intent(in) :: path
      type(anomalyd_verdict), intent(out) :: verdict
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg
      character(*), intent(in), optional :: stream

      call classify_int64(self, int(step, int64), path, verdict, stat, errmsg, stream)
   end subroutine classify_int32

   !> Ask whether a raw field of one time step is normal, and wait for the verdict: `values(nx, ny)`, or `values(nx, ny, nvar)` for
   !> several variables on one grid, of either real kind; at least 8 x 8 zones, at most 16 variables. A NaN or an infinity is
   !> anomalous at once. Needs a run, which then has fields of one shape and no images.
   !>
   !> The first index, Fortran's fastest, is the column of the daemon's box and heat map, the second the row, both counted from 0
   !> there. An array section that is not contiguous is copied.
   !>
   !>     call watch%classify_field(step, density(1:nx, 1:ny), verdict)
   subroutine field2_real64(self, step, values, verdict, stat, errmsg, stream)
      class(anomalyd_client), intent(in) :: self
      integer(int64), intent(in) :: step
      real(real64), intent(in), contiguous, target :: values(:, :)
      type(anomalyd_verdict), intent(out) :: verdict
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg
      !> As of classify.
      character(*), intent(in), optional :: stream
      type(c_ptr) :: address

      address = c_null_ptr
      if (size(values) > 0) address = c_loc(values)
      call ask_about(self, step, address, 8, shape(values), verdict, stat, errmsg, stream)
   end subroutine field2_real64

   subroutine field2_real32(self, step, values, verdict, stat, errmsg, stream)
      class(anomalyd_client), intent(in) :: self
      integer(int64), intent(in) :: step
      real(real32), intent(in), contiguous, target :: values(:, :)
      type(anomalyd_verdict), intent(out) :: verdict
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg
      character(*), intent(in), optional :: stream
      type(c_ptr) :: address

      address = c_null_ptr
      if (size(values) > 0) address = c_loc(values)
      call ask_about(self, step, address, 4, shape(values), verdict, stat, errmsg, stream)
   end subroutine field2_real32

   subroutine field3_real64(self, step, values, verdict, stat, errmsg, stream)
      class(anomalyd_client), intent(in) :: self
      integer(int64), intent(in) :: step
      real(real64), intent(in), contiguous, target :: values(:, :, :)
      type(anomalyd_verdict), intent(out) :: verdict
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg
      character(*), intent(in), optional :: stream
      type(c_ptr) :: address

      address = c_null_ptr
      if (size(values) > 0) address = c_loc(values)
      call ask_about(self, step, address, 8, shape(values), verdict, stat, errmsg, stream)
   end subroutine field3_real64

   subroutine field3_real32(self, step, values, verdict, stat, errmsg, stream)
      class(anomalyd_client), intent(in) :: self
      integer(int64), intent(in) :: step
      real(real32), intent(in), contiguous, target :: values(:, :, :)
      type(anomalyd_verdict), intent(out) :: verdict
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg
      character(*), intent(in), optional :: stream
      type(c_ptr) :: address

      address = c_null_ptr
      if (size(values) > 0) address = c_loc(values)
      call ask_about(self, step, address, 4, shape(values), verdict, stat, errmsg, stream)
   end subroutine field3_real32

   subroutine field2_real64_int32(self, step, values, verdict, stat, errmsg, stream)
      class(anomalyd_client), intent(in) :: self
      integer(int32), intent(in) :: step
      real(real64), intent(in), contiguous, target :: values(:, :)
      type(anomalyd_verdict), intent(out) :: verdict
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg
      character(*), intent(in), optional :: stream

      call field2_real64(self, int(step, int64), values, verdict, stat, errmsg, stream)
   end subroutine field2_real64_int32

   subroutine field2_real32_int32(self, step, values, verdict, stat, errmsg, stream)
      class(anomalyd_client), intent(in) :: self
      integer(int32), intent(in) :: step
      real(real32), intent(in), contiguous, target :: values(:, :)
      type(anomalyd_verdict), intent(out) :: verdict
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg
      character(*), intent(in), optional :: stream

      call field2_real32(self, int(step, int64), values, verdict, stat, errmsg, stream)
   end subroutine field2_real32_int32

   subroutine field3_real64_int32(self, step, values, verdict, stat, errmsg, stream)
      class(anomalyd_client), intent(in) :: self
      integer(int32), intent(in) :: step
      real(real64), intent(in), contiguous, target :: values(:, :, :)
      type(anomalyd_verdict), intent(out) :: verdict
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg
      character(*), intent(in), optional :: stream

      call field3_real64(self, int(step, int64), values, verdict, stat, errmsg, stream)
   end subroutine field3_real64_int32

   subroutine field3_real32_int32(self, step, values, verdict, stat, errmsg, stream)
      class(anomalyd_client), intent(in) :: self
      integer(int32), intent(in) :: step
      real(real32), intent(in), contiguous, target :: values(:, :, :)
      type(anomalyd_verdict), intent(out) :: verdict
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg
      character(*), intent(in), optional :: stream

      call field3_real32(self, int(step, int64), values, verdict, stat, errmsg, stream)
   end subroutine field3_real32_int32

   ! Asks about the values at an address. On the wire the slowest extent comes first: that is the reverse of Fortran's order.
   subroutine ask_about(self, step, address, n_bytes, extents, verdict, stat, errmsg, stream)
      class(anomalyd_client), intent(in) :: self
      integer(int64), intent(in) :: step
      type(c_ptr), intent(in) :: address
      integer, intent(in) :: n_bytes, extents(:)
      type(anomalyd_verdict), intent(inout) :: verdict
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg
      character(*), intent(in), optional :: stream
      type(anomalyd_c_verdict) :: answer
      integer(c_int) :: status

      if (.not. names_stream(self, stream)) then
         verdict%step = step
         call refuse(self, .true., verdict, stat, errmsg, to_fortran(c_last_error(self%handle)))
      else if (c_associated(self%handle)) then
         status = c_classify_field(self%handle, int(step, c_int64_t), address, int(n_bytes, c_int), int(size(extents), c_int), &
                                   int(extents(size(extents):1:-1), c_size_t), answer)
         call take(self, answer, verdict, stat, errmsg)
      else
         verdict%step = step
         call refuse(self, .true., verdict, stat, errmsg)
      end if
   end subroutine ask_about

   !> Ask as classify does, but return as soon as the request is sent. The verdict is fetched with poll or wait; one request
   !> is in flight at most. The time-out counts from this call. A failure is told by the verdict of poll or wait, too.
   subroutine submit_int64(self, step, path, stat, errmsg, stream)
      class(anomalyd_client), intent(in) :: self
      integer(int64), intent(in) :: step
      character(*), intent(in) :: path
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg
      !> As of classify.
      character(*), intent(in), optional :: stream
      character(kind=c_char), allocatable :: c_path(:)
      type(anomalyd_verdict) :: unused
      logical :: good

      good = .true.
      call to_c(path, c_path, good)
      if (.not. names_stream(self, stream)) then
         call refuse(self, good, unused, stat, errmsg, to_fortran(c_last_error(self%handle)))
      else if (good .and. c_associated(self%handle)) then
         call finish(self, c_submit(self%handle, int(step, c_int64_t), c_path), stat, errmsg)
      else
         call refuse(self, good, unused, stat, errmsg)
      end if
   end subroutine submit_int64

   subroutine submit_int32(self, step, path, stat, errmsg, stream)
      class(anomalyd_client), intent(in) :: self
      integer(int32), intent(in) :: step
      character(*), intent(in) :: path
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg
      character(*), intent(in), optional :: stream

      call submit_int64(self, int(step, int64), path, stat, errmsg, stream)
   end subroutine submit_int32

   !> Fetch the verdict of the submitted request if it is there; do not wait. The status is `anomalyd_busy` while it is not.
   subroutine client_poll(self, verdict, stat, errmsg)
      class(anomalyd_client), intent(in) :: self
      type(anomalyd_verdict), intent(out) :: verdict
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg
      type(anomalyd_c_verdict) :: answer
      integer(c_int) :: status

      if (c_associated(self%handle)) then
         status = c_poll(self%handle, answer)
         call take(self, answer, verdict, stat, errmsg)
      else
         call refuse(self, .true., verdict, stat, errmsg)
      end if
   end subroutine client_poll

   !> Wait for the verdict of the submitted request, at most until its time-out.
   subroutine client_wait(self, verdict, stat, errmsg)
      class(anomalyd_client), intent(in) :: self
      type(anomalyd_verdict), intent(out) :: verdict
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg
      type(anomalyd_c_verdict) :: answer
      integer(c_int) :: status

      if (c_associated(self%handle)) then
         status = c_wait(self%handle, answer)
         call take(self, answer, verdict, stat, errmsg)
      else
         call refuse(self, .true., verdict, stat, errmsg)
      end if
   end subroutine client_wait

   !> Tell the daemon that the simulation has gone back to the state right after `step`: it forgets later images.
   subroutine rewind_int64(self, step, stat, errmsg)
      class(anomalyd_client), intent(in) :: self
      integer(int64), intent(in) :: step
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg

      call finish(self, c_rewind(self%handle, int(step, c_int64_t)), stat, errmsg)
   end subroutine rewind_int64

   subroutine rewind_int32(self, step, stat, errmsg)
      class(anomalyd_client), intent(in) :: self
      integer(int32), intent(in) :: step
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg

      call rewind_int64(self, int(step, int64), stat, errmsg)
   end subroutine rewind_int32

   !> Tell the daemon the truth about the image of a step: anomalyd_normal or anomalyd_anomalous.
   subroutine label_int64(self, step, label, stat, errmsg, stream)
      class(anomalyd_client), intent(in) :: self
      integer(int64), intent(in) :: step
      integer, intent(in) :: label
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg
      !> As of classify.
      character(*), intent(in), optional :: stream
      type(anomalyd_verdict) :: unused

      if (.not. names_stream(self, stream)) then
         call refuse(self, .true., unused, stat, errmsg, to_fortran(c_last_error(self%handle)))
         return
      end if
      call finish(self, c_label_step(self%handle, int(step, c_int64_t), int(label, c_int)), stat, errmsg)
   end subroutine label_int64

   subroutine label_int32(self, step, label, stat, errmsg, stream)
      class(anomalyd_client), intent(in) :: self
      integer(int32), intent(in) :: step
      integer, intent(in) :: label
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg
      character(*), intent(in), optional :: stream

      call label_int64(self, int(step, int64), label, stat, errmsg, stream)
   end subroutine label_int32

   !> Ask the daemon whether it is there.
   subroutine client_ping(self, stat, errmsg)
      class(anomalyd_client), intent(in) :: self
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg

      call finish(self, c_ping(self%handle), stat, errmsg)
   end subroutine client_ping

   !> The JSON detail of the last reply (PROTOCOL.md, section 9); empty where there is none.
   function client_detail(self) result(json)
      class(anomalyd_client), intent(in) :: self
      character(:), allocatable :: json
      integer(c_size_t) :: length

      json = to_fortran(c_detail(self%handle, length))
   end function client_detail

   !> The heat map of the last reply, the bytes of a PNG file, [n]; n is 0 where there is none.
   subroutine client_heatmap(self, png)
      class(anomalyd_client), intent(in) :: self
      integer(int8), allocatable, intent(out) :: png(:)
      integer(int8), pointer :: bytes(:)
      type(c_ptr) :: address
      integer(c_size_t) :: length

      address = c_heatmap(self%handle, length)
      if (c_associated(address)) then
         call c_f_pointer(address, bytes, [length])
         png = bytes
      else
         allocate (png(0))
      end if
   end subroutine client_heatmap

   !> A few words for a status.
   function anomalyd_strerror(status) result(words)
      integer, intent(in) :: status
      character(:), allocatable :: words

      words = to_fortran(c_strerror(int(status, c_int)))
   end function anomalyd_strerror

   !> "normal", "anomalous" or "unknown".
   function anomalyd_label_name(label) result(name)
      integer, intent(in) :: label
      character(:), allocatable :: name

      name = to_fortran(c_label_name(int(label, c_int)))
   end function anomalyd_label_name

   !> Version of libanomalyd.
   function anomalyd_library_version() result(version)
      character(:), allocatable :: version

      version = to_fortran(c_library_version())
   end function anomalyd_library_version

   ! What a copy is: two owners of one handle would close it twice.
   subroutine copy_closed(self, other)
      class(anomalyd_client), intent(inout) :: self
      class(anomalyd_client), intent(in) :: other

      call self%close()
      self%policy = other%policy
   end subroutine copy_closed

   ! A time-out as the library takes it; one out of range stays so, whatever the size of a default integer.
   pure function milliseconds(given) result(ms)
      integer, intent(in) :: given
      integer(c_int32_t) :: ms

      ms = int(max(-1, min(given, anomalyd_max_timeout_ms + 1)), c_int32_t)
   end function milliseconds

   ! The C string of a text without its trailing blanks; the empty one where it is absent. `good` becomes .false. if the text has
   ! a NUL, which would cut it.
   pure subroutine to_c(text, copy, good)
      character(*), intent(in), optional :: text
      character(kind=c_char), allocatable, intent(out) :: copy(:)
      logical, intent(inout) :: good
      integer :: i, length

      length = 0
      if (present(text)) length = len_trim(text)
      allocate (copy(length + 1))
      do i = 1, length
         copy(i) = text(i:i)
         if (text(i:i) == c_null_char) good = .false.
      end do
      copy(length + 1) = c_null_char
   end subroutine to_c

   ! The text of a C string.
   function to_fortran(address) result(text)
      type(c_ptr), intent(in) :: address
      character(:), allocatable :: text
      character(kind=c_char), pointer :: bytes(:)
      integer :: i

      call c_f_pointer(address, bytes, [c_strlen(address)])
      allocate (character(size(bytes)) :: text)
      do i = 1, size(bytes)
         text(i:i) = bytes(i)
      end do
   end function to_fortran

   pure subroutine report(status, words, stat, errmsg)
      integer, intent(in) :: status
      character(*), intent(in) :: words
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg

      if (present(stat)) stat = status
      if (present(errmsg)) errmsg = words
   end subroutine report

   ! Ends a call that has no verdict. The library itself has refused a closed client, but has no handle to keep words in.
   subroutine finish(self, status, stat, errmsg)
      class(anomalyd_client), intent(in) :: self
      integer(c_int), intent(in) :: status
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg

      if (c_associated(self%handle)) then
         call report(int(status), to_fortran(c_last_error(self%handle)), stat, errmsg)
      else
         call report(int(status), 'the client is not open', stat, errmsg)
      end if
   end subroutine finish

   ! Ends a call whose arguments cannot be given to the library, or whose client is closed.
   subroutine refuse(self, good, verdict, stat, errmsg, why)
      class(anomalyd_client), intent(in) :: self
      logical, intent(in) :: good
      type(anomalyd_verdict), intent(inout) :: verdict
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg
      character(*), intent(in), optional :: why

      verdict%status = anomalyd_invalid
      verdict%act = self%policy == anomalyd_fail_closed
      verdict%text = 'the client is not open'
      if (present(why)) verdict%text = why
      if (.not. good) verdict%text = 'the path has a NUL character in it'
      call report(anomalyd_invalid, trim(verdict%text), stat, errmsg)
   end subroutine refuse

   ! Tells the library the stream of the call that follows; false if the name is wrong. A closed client has no streams.
   function names_stream(self, stream) result(good)
      class(anomalyd_client), intent(in) :: self
      character(*), intent(in), optional :: stream
      character(kind=c_char), allocatable :: c_stream(:)
      logical :: good

      good = .true.
      if (.not. c_associated(self%handle)) return
      call to_c(stream, c_stream, good)
      good = c_set_stream(self%handle, c_stream) == anomalyd_ok .and. good
   end function names_stream

   ! Ends a call with the library's verdict.
   subroutine take(self, answer, verdict, stat, errmsg)
      class(anomalyd_client), intent(in) :: self
      type(anomalyd_c_verdict), intent(in) :: answer
      type(anomalyd_verdict), intent(inout) :: verdict
      integer, intent(out), optional :: stat
      character(*), intent(inout), optional :: errmsg
      integer :: i

      verdict%label = int(answer%label)
      verdict%act = answer%acted /= 0
      verdict%status = int(answer%status)
      verdict%score = real(answer%score, real64)
      verdict%threshold = real(answer%threshold, real64)
      verdict%step = int(answer%step, int64)
      verdict%restarted = answer%restarted /= 0
      verdict%instance = ''
      do i = 1, anomalyd_max_instance
         if (answer%instance(i) == c_null_char) exit
         verdict%instance(i:i) = answer%instance(i)
      end do
      if (verdict%status == anomalyd_ok) then
         verdict%text = to_fortran(c_text(self%handle))
      else
         verdict%text = to_fortran(c_last_error(self%handle))
      end if
      call finish(self, answer%status, stat, errmsg)
   end subroutine take
end module anomalyd
