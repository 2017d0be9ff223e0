!> Checkpoints, checksums, bit flips, random numbers and floors: what "equal bit for bit" rests on. Exit code 1 at the first that
!> fails.
program test_files
   use, intrinsic :: ieee_arithmetic, only: ieee_value, ieee_positive_inf, ieee_quiet_nan, ieee_is_finite
   use kinds, only: dp, int8, int32, int64
   use grid, only: mesh_type, state_type, i_energy
   use eos, only: gas_type, apply_floors
   use step, only: workspace_type, new_workspace, largest_time_step, advance
   use problem, only: shear_mesh, set_shear_layer
   use checkpoint, only: shelf_type, write_checkpoint, read_checkpoint
   use checksum, only: crc32, adler32
   use bit_flip, only: flip_type, flip_bit, random_flip
   use files, only: make_directory, remove_file
   use random, only: generator_type, new_generator
   implicit none

   type(gas_type), parameter :: gas = gas_type()
   character(*), parameter :: directory = 'test_files.out'

   call demand(make_directory(directory), 'a directory can be made')
   call checksums_match_their_published_check_values()
   call a_flipped_bit_is_the_only_difference_and_flips_back()
   call a_fault_strikes_once()
   call same_input_gives_the_same_bits()
   call a_restart_continues_bit_for_bit()
   call a_damaged_checkpoint_is_refused()
   call the_shelf_keeps_the_newest_and_forgets_after_a_restore()
   call a_zone_that_is_not_finite_is_repaired()
   call neighbouring_seeds_draw_unrelated_faults()
   print '(a)', 'test_files: all well'

contains

   subroutine checksums_match_their_published_check_values()
      integer(int8), parameter :: mold(1) = [0_int8]

      ! ISO 3309's check value of "123456789" is CBF43926; RFC 1950's sum of "Wikipedia" is 11E60398.
      call demand(crc32(transfer('123456789', mold)) == not(int(z'340BC6D9', int32)), 'CRC-32')
      call demand(crc32(transfer('6789', mold), crc32(transfer('12345', mold))) == not(int(z'340BC6D9', int32)), 'CRC-32 in pieces')
      call demand(adler32(transfer('Wikipedia', mold)) == int(z'11E60398', int32), 'Adler-32')
   end subroutine checksums_match_their_published_check_values

   subroutine a_flipped_bit_is_the_only_difference_and_flips_back()
      integer :: bit
      integer(int64) :: before, after

      before = transfer(2.5_dp, before)
      do bit = 0, 63
         after = transfer(flip_bit(2.5_dp, bit), after)
         call demand(popcnt(ieor(before, after)) == 1 .and. btest(ieor(before, after), bit), 'exactly the chosen bit differs')
         call demand(transfer(flip_bit(flip_bit(2.5_dp, bit), bit), before) == before, 'flipping twice restores the value')
      end do
      call demand(flip_bit(2.5_dp, 55) == 2.5_dp*256.0_dp, 'bit 55 of a number in [2, 4) multiplies by 256')
      call demand(flip_bit(2.5_dp, 63) == -2.5_dp, 'bit 63 is the sign')
   end subroutine a_flipped_bit_is_the_only_difference_and_flips_back

   subroutine a_fault_strikes_once()
      type(mesh_type) :: mesh
      type(state_type) :: state, before
      type(flip_type) :: flip

      mesh = shear_mesh(16)
      call set_shear_layer(mesh, gas, 1, state)
      before = state
      flip = flip_type(planned=.true., step=7, cycle=2, i=5, j=6, variable=i_energy, bit=54)
      call demand(.not. flip%strike(state, 7, 1), 'a fault waits for its cycle')
      call demand(flip%strike(state, 7, 2), 'a fault strikes at its cycle')
      call demand(count(state%u /= before%u) == 1, 'a fault changes one number')
      state = before
      call demand(.not. flip%strike(state, 7, 2), 'a fault does not come again in the replay')
      call demand(all(state%u == before%u), 'the replay is left alone')
      ! The zone of the random choice holds 1.5 (bit 55 set), the next one 2.5 (bit 55 clear).
      state%u(16, 6, i_energy) = 1.5_dp
      state%u(17, 6, i_energy) = 2.5_dp
      flip = flip_type(planned=.true., step=7, i=16, j=6, variable=i_energy, bit=55, upward=.true.)
      call demand(flip%strike(state, 7, 1) .and. flip%i == 17 .and. flip%after == 640.0_dp, 'an upward fault raises the value')
   end subroutine a_fault_strikes_once

   subroutine go_on(mesh, state, n_cycles)
      type(mesh_type), intent(in) :: mesh
      type(state_type), intent(inout) :: state
      integer, intent(in) :: n_cycles
      type(workspace_type) :: work
      real(dp) :: dt
      integer :: k, n_floored

      work = new_workspace(mesh)
      do k = 1, n_cycles
         call largest_time_step(mesh, gas, 0.8_dp, state%u, work, dt)
         call advance(mesh, gas, dt, state%u, work, n_floored)
         state%time = state%time + dt
         state%cycle = state%cycle + 1
      end do
   end subroutine go_on

   !> Bit for bit: 0 and -0, or two NaNs, are told apart by their bits.
   logical function equal(mesh, a, b)
      type(mesh_type), intent(in) :: mesh
      type(state_type), intent(in) :: a, b

      equal = a%step == b%step .and. a%cycle == b%cycle .and. transfer(a%time, 0_int64) == transfer(b%time, 0_int64) .and. &
         & all(transfer(a%u(1:mesh%nx, 1:mesh%ny, :), [0_int64]) == transfer(b%u(1:mesh%nx, 1:mesh%ny, :), [0_int64]))
   end function equal

   subroutine same_input_gives_the_same_bits()
      type(mesh_type) :: mesh
      type(state_type) :: a, b, other

      mesh = shear_mesh(24)
      call set_shear_layer(mesh, gas, 5, a)
      call set_shear_layer(mesh, gas, 5, b)
      call set_shear_layer(mesh, gas, 6, other)
      call go_on(mesh, a, 40)
      call go_on(mesh, b, 40)
      call demand(equal(mesh, a, b), 'the same input gives the same bits')
      call go_on(mesh, other, 40)
      call demand(.not. equal(mesh, a, other), 'another seed gives another flow')
   end subroutine same_input_gives_the_same_bits

   subroutine a_restart_continues_bit_for_bit()
      type(mesh_type) :: mesh
      type(state_type) :: through, restarted
      character(:), allocatable :: message

      mesh = shear_mesh(24)
      call set_shear_layer(mesh, gas, 5, through)
      call go_on(mesh, through, 25)
      through%step = 3
      call write_checkpoint(directory//'/a.bin', mesh, through, message)
      call demand(message == '', 'a checkpoint can be written')
      call read_checkpoint(directory//'/a.bin', mesh, restarted, message)
      call demand(message == '', 'a checkpoint can be read')
      call demand(equal(mesh, through, restarted), 'a checkpoint holds every bit of the state')
      call go_on(mesh, through, 25)
      call go_on(mesh, restarted, 25)
      call demand(equal(mesh, through, restarted), 'a restart continues bit for bit')
      call read_checkpoint(directory//'/a.bin', shear_mesh(32), restarted, message)
      call demand(index(message, 'another grid') > 0, 'a checkpoint of another grid is refused')
   end subroutine a_restart_continues_bit_for_bit

   subroutine a_damaged_checkpoint_is_refused()
      type(mesh_type) :: mesh
      type(state_type) :: state
      character(:), allocatable :: message
      integer :: unit

      mesh = shear_mesh(24)
      call set_shear_layer(mesh, gas, 5, state)
      call write_checkpoint(directory//'/b.bin', mesh, state, message)
      open (newunit=unit, file=directory//'/b.bin', access='stream', form='unformatted', status='old')
      write (unit, pos=1000) 77_int8
      close (unit)
      call read_checkpoint(directory//'/b.bin', mesh, state, message)
      call demand(index(message, 'damaged') > 0, 'a changed byte is found')
      call read_checkpoint(directory//'/none.bin', mesh, state, message)
      call demand(len(message) > 0, 'a missing checkpoint is an error, not a crash')
   end subroutine a_damaged_checkpoint_is_refused

   subroutine the_shelf_keeps_the_newest_and_forgets_after_a_restore()
      type(mesh_type) :: mesh
      type(state_type) :: state
      type(shelf_type) :: shelf
      character(:), allocatable :: message
      integer :: k
      logical :: there

      mesh = shear_mesh(16)
      call set_shear_layer(mesh, gas, 1, state)
      call shelf%open(directory, 3)
      call demand(shelf%newest_up_to(100) == -1, 'an empty shelf has nothing')
      do k = 0, 20, 5
         state%step = k
         call shelf%put(mesh, state, message)
         call demand(message == '', 'a checkpoint can be put away')
      end do
      call demand(shelf%newest_up_to(100) == 20 .and. shelf%newest_up_to(19) == 15 .and. shelf%newest_up_to(9) == -1, &
         & 'the newest three are kept')
      inquire (file=directory//'/checkpoint_000005.bin', exist=there)
      call demand(.not. there, 'older files are removed')
      call shelf%restore(10, mesh, state, message)
      call demand(message == '' .and. state%step == 10, 'a checkpoint is brought back')
      call demand(shelf%newest_up_to(100) == 10, 'later ones are forgotten')
   end subroutine the_shelf_keeps_the_newest_and_forgets_after_a_restore

   subroutine a_zone_that_is_not_finite_is_repaired()
      type(mesh_type) :: mesh
      type(state_type) :: state, before
      real(dp) :: values(4)
      integer :: k, n_floored

      values = [ieee_value(1.0_dp, ieee_quiet_nan), ieee_value(1.0_dp, ieee_positive_inf), -ieee_value(1.0_dp, ieee_positive_inf), &
         & -1.0e300_dp]
      mesh = shear_mesh(16)
      do k = 1, size(values)
         call set_shear_layer(mesh, gas, 1, state)
         before = state
         call apply_floors(gas, mesh, state%u, n_floored)
         call demand(n_floored == 0 .and. all(state%u == before%u), 'a healthy state is not touched')
         state%u(4, 5, 1 + modulo(k, 4)) = values(k)
         call apply_floors(gas, mesh, state%u, n_floored)
         call demand(n_floored == 1, 'the damaged zone is repaired')
         call demand(all(ieee_is_finite(state%u(1:mesh%nx, 1:mesh%ny, :))), 'the repaired zone is finite')
         before = state
         call apply_floors(gas, mesh, state%u, n_floored)
         call demand(n_floored == 0, 'a repaired zone needs no second repair')
      end do
      ! Bit 54 divides the density by 16 and leaves the pressure negative or small: the run goes on.
      call set_shear_layer(mesh, gas, 1, state)
      state%u(4, 5, 1) = flip_bit(state%u(4, 5, 1), 55)
      call go_on(mesh, state, 200)
      call demand(all(ieee_is_finite(state%u(1:mesh%nx, 1:mesh%ny, :))), 'the run survives a flipped exponent bit')
   end subroutine a_zone_that_is_not_finite_is_repaired

   subroutine neighbouring_seeds_draw_unrelated_faults()
      type(mesh_type) :: mesh
      type(flip_type) :: flip
      integer, parameter :: n = 400
      integer :: k, i(n), j(n), again
      real(dp) :: di(n - 1)

      mesh = shear_mesh(100)
      do k = 1, n
         flip = random_flip(mesh, k, 40, 60)
         i(k) = flip%i
         j(k) = flip%j
         call demand(flip%planned .and. flip%step >= 40 .and. flip%step <= 60 .and. flip%bit >= 54 .and. flip%bit <= 56, &
            & 'a random fault keeps to its ranges')
      end do
      flip = random_flip(mesh, 17, 40, 60)
      again = flip%i
      call demand(again == i(17), 'a seed draws the same fault again')
      ! Uniform on 1..200: mean 100.5, standard deviation 57.7; five standard errors of the mean of 400.
      call demand(abs(sum(real(i, dp))/n - 100.5_dp) < 5*57.7_dp/20, 'faults fall anywhere along x')
      call demand(abs(sum(real(j, dp))/n - 50.5_dp) < 5*28.9_dp/20, 'faults fall anywhere along y')
      ! Differences of independent uniform numbers have a standard deviation of 57.7 sqrt(2) = 81.6; a linear generator gives a
      ! constant.
      di = real(i(2:) - i(:n - 1), dp)
      call demand(sqrt(sum((di - sum(di)/(n - 1))**2)/(n - 1)) > 60.0_dp, 'neighbouring seeds are unrelated')
   end subroutine neighbouring_seeds_draw_unrelated_faults

   subroutine demand(holds, law)
      logical, intent(in) :: holds
      character(*), intent(in) :: law

      if (holds) return
      print '(2a)', 'test_files: does not hold: ', law
      stop 1
   end subroutine demand

end program test_files
