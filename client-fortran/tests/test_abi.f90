!> The constants and structs of the module against those of anomalyd.h, which abi.c has compiled in.
program test_abi
   use, intrinsic :: iso_c_binding, only: c_int, c_intptr_t, c_loc, c_size_t, c_sizeof
   use, intrinsic :: iso_fortran_env, only: error_unit
   use anomalyd
   implicit none

   interface
      function abi_constant(idx) bind(c) result(value)
         import :: c_int
         integer(c_int), value :: idx
         integer(c_int) :: value
      end function abi_constant
      function abi_layout(idx) bind(c) result(bytes)
         import :: c_int, c_size_t
         integer(c_int), value :: idx
         integer(c_size_t) :: bytes
      end function abi_layout
   end interface

   ! In the order of abi.c.
   integer, parameter :: constants(*) = [ &
                         anomalyd_timeout, &
                         anomalyd_unavailable, &
                         anomalyd_invalid, &
                         anomalyd_no_memory, &
                         anomalyd_bad_reply, &
                         anomalyd_stale_endpoint, &
                         anomalyd_system, &
                         anomalyd_busy, &
                         anomalyd_ok, &
                         anomalyd_malformed, &
                         anomalyd_forbidden, &
                         anomalyd_not_found, &
                         anomalyd_wrong_socket, &
                         anomalyd_deadline_passed, &
                         anomalyd_out_of_order, &
                         anomalyd_too_large, &
                         anomalyd_unsupported, &
                         anomalyd_undecodable, &
                         anomalyd_overloaded, &
                         anomalyd_internal, &
                         anomalyd_not_offered, &
                         anomalyd_not_ready, &
                         anomalyd_version, &
                         anomalyd_normal, &
                         anomalyd_anomalous, &
                         anomalyd_unknown, &
                         anomalyd_fail_open, &
                         anomalyd_fail_closed, &
                         anomalyd_max_path, &
                         anomalyd_max_run, &
                         anomalyd_max_model, &
                         anomalyd_max_stream, &
                         anomalyd_max_text, &
                         anomalyd_max_instance, &
                         anomalyd_max_endpoint, &
                         anomalyd_max_ipc_path, &
                         anomalyd_max_timeout_ms]
   type(anomalyd_c_options), target :: options
   type(anomalyd_c_verdict), target :: verdict
   integer(c_intptr_t) :: base
   integer :: i, n_failures, place

   n_failures = 0
   do i = 1, size(constants)
      if (constants(i) == int(abi_constant(int(i - 1, c_int)))) cycle
      n_failures = n_failures + 1
      write (error_unit, '(2(a, i0))') 'constant ', i, ' of abi.c differs: here it is ', constants(i)
   end do
   if (abi_constant(int(size(constants), c_int)) /= -1) error stop 'abi.c has more constants'

   place = 0
   call same(c_sizeof(options), 'size of anomalyd_options')
   base = transfer(c_loc(options), base)
   call same(offset(transfer(c_loc(options%size), base)), 'options.size')
   call same(offset(transfer(c_loc(options%endpoint), base)), 'options.endpoint')
   call same(offset(transfer(c_loc(options%run), base)), 'options.run')
   call same(offset(transfer(c_loc(options%model), base)), 'options.model')
   call same(offset(transfer(c_loc(options%timeout_ms), base)), 'options.timeout_ms')
   call same(offset(transfer(c_loc(options%connect_timeout_ms), base)), 'options.connect_timeout_ms')
   call same(offset(transfer(c_loc(options%policy), base)), 'options.policy')
   call same(offset(transfer(c_loc(options%want_heatmap), base)), 'options.want_heatmap')
   call same(offset(transfer(c_loc(options%client_key_file), base)), 'options.client_key_file')
   call same(offset(transfer(c_loc(options%server_key_file), base)), 'options.server_key_file')
   call same(c_sizeof(verdict), 'size of anomalyd_verdict')
   base = transfer(c_loc(verdict), base)
   call same(offset(transfer(c_loc(verdict%step), base)), 'verdict.step')
   call same(offset(transfer(c_loc(verdict%score), base)), 'verdict.score')
   call same(offset(transfer(c_loc(verdict%threshold), base)), 'verdict.threshold')
   call same(offset(transfer(c_loc(verdict%status), base)), 'verdict.status')
   call same(offset(transfer(c_loc(verdict%label), base)), 'verdict.label')
   call same(offset(transfer(c_loc(verdict%acted), base)), 'verdict.acted')
   call same(offset(transfer(c_loc(verdict%restarted), base)), 'verdict.restarted')
   call same(offset(transfer(c_loc(verdict%instance), base)), 'verdict.instance')
   if (abi_layout(int(place, c_int)) /= not(0_c_size_t)) error stop 'abi.c has more members'
   if (n_failures > 0) error stop 'the Fortran module and anomalyd.h differ'
   write (error_unit, '(2(i0, a))') size(constants), ' constants and ', place, ' sizes and offsets agree'

contains

   function offset(address) result(bytes)
      integer(c_intptr_t), intent(in) :: address
      integer(c_size_t) :: bytes
      bytes = int(address - base, c_size_t)
   end function offset

   subroutine same(found, what)
      integer(c_size_t), intent(in) :: found
      character(*), intent(in) :: what
      if (found /= abi_layout(int(place, c_int))) then
         n_failures = n_failures + 1
         write (error_unit, '(2a, i0, a, i0)') what, ': here ', found, ', in C ', abi_layout(int(place, c_int))
      end if
      place = place + 1
   end subroutine same
end program test_abi
