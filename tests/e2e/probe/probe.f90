! SPDX-License-Identifier: MIT OR Apache-2.0
!
! The same as probe.c through the Fortran client; see there.
program probe
   use, intrinsic :: iso_fortran_env, only: int64, real32, real64, input_unit, output_unit, error_unit
   use anomalyd
   implicit none
   integer, parameter :: max_line = 9000
   type(anomalyd_client) :: watch
   type(anomalyd_verdict) :: verdict
   character(max_line) :: line, word
   character(4096) :: endpoint, run, number, policy
   character(:), allocatable :: path, stream
   character(256) :: message
   real(real64), allocatable :: doubles(:, :, :), plane(:, :)
   real(real32), allocatable :: singles(:, :, :)
   integer :: stat, ios, timeout_ms, how, n_bytes, nvar, ny, nx, unit
   integer(int64) :: step, begun, ended, rate

   call get_command_argument(1, endpoint)
   call get_command_argument(2, run)
   call get_command_argument(3, number)
   call get_command_argument(4, policy)
   read (number, *) timeout_ms
   how = anomalyd_fail_open
   if (policy == 'closed') how = anomalyd_fail_closed
   if (len_trim(endpoint) > 0) then
      call watch%open(run=trim(run), endpoint=trim(endpoint), timeout_ms=timeout_ms, policy=how, stat=stat, errmsg=message)
   else
      call watch%open(run=trim(run), timeout_ms=timeout_ms, policy=how, stat=stat, errmsg=message)
   end if
   if (stat /= anomalyd_ok) then
      write (error_unit, '(2a)') 'open: ', trim(message)
      stop 1
   end if

   stream = ''
   do
      read (input_unit, '(a)', iostat=ios) line
      if (ios /= 0) exit
      verdict = anomalyd_verdict()
      step = -1
      call system_clock(begun, rate)
      if (index(line, 'classify ') == 1) then
         read (line(10:), *) step, word
         path = from_hex(trim(word))
         call watch%classify(step, path, verdict, stat, stream=stream)
      else if (index(line, 'field ') == 1) then
         read (line(7:), *) step, n_bytes, nvar, ny, nx, word
         path = from_hex(trim(word))
         open (newunit=unit, file=path, access='stream', form='unformatted', status='old', action='read')
         if (n_bytes == 4) then
            allocate (singles(nx, ny, nvar))
            read (unit) singles
            call watch%classify_field(step, singles, verdict, stat, stream=stream)
            deallocate (singles)
         else if (nvar == 1) then
            allocate (plane(nx, ny))
            read (unit) plane
            call watch%classify_field(step, plane, verdict, stat, stream=stream)
            deallocate (plane)
         else
            allocate (doubles(nx, ny, nvar))
            read (unit) doubles
            call watch%classify_field(step, doubles, verdict, stat, stream=stream)
            deallocate (doubles)
         end if
         close (unit)
      else if (index(line, 'rewind ') == 1) then
         read (line(8:), *) step
         call watch%rewind(step, stat)
         verdict%status = stat
         verdict%step = step
      else if (index(line, 'stream ') == 1) then
         stream = from_hex(trim(line(8:)))
         verdict%status = anomalyd_ok
      else if (index(line, 'label ') == 1) then
         read (line(7:), *) step, word
         call watch%label_step(step, merge(anomalyd_normal, anomalyd_anomalous, word == 'normal'), stat, stream=stream)
         verdict%status = stat
         verdict%step = step
      else
         call watch%ping(stat)
         verdict%status = stat
      end if
      call system_clock(ended)
      if (len_trim(verdict%instance) == 0) verdict%instance = '-'
      write (output_unit, '(i0,1x,a,1x,i0,1x,i0,1x,i0,1x,2(es25.17e3,1x),f0.3,1x,a)') verdict%status, &
         label_name(verdict%label), merge(1, 0, verdict%act), merge(1, 0, verdict%restarted), verdict%step, &
         verdict%score, verdict%threshold, 1000*real(ended - begun, real64)/real(rate, real64), trim(verdict%instance)
      flush (output_unit)
   end do
   call watch%close()

contains

   !> The bytes of x and their hex digits.
   function from_hex(word) result(bytes)
      character(*), intent(in) :: word
      character(:), allocatable :: bytes
      integer :: i, byte
      bytes = repeat(' ', (len(word) - 1)/2)
      do i = 1, len(bytes)
         read (word(2*i:2*i + 1), '(z2)') byte
         bytes(i:i) = achar(byte)
      end do
   end function from_hex

   pure function label_name(label) result(name)
      integer, intent(in) :: label
      character(:), allocatable :: name
      select case (label)
      case (anomalyd_normal)
         name = 'normal'
      case (anomalyd_anomalous)
         name = 'anomalous'
      case default
         name = 'unknown'
      end select
   end function label_name
end program probe
