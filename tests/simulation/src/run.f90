!> One run from its start to its end: advance, render, ask, and go back when the answer is an alarm.
module run
   use, intrinsic :: iso_fortran_env, only: output_unit
   use kinds, only: dp, int64
   use grid, only: mesh_type, state_type
   use eos, only: gas_type
   use step, only: workspace_type, new_workspace, largest_time_step, advance
   use problem, only: shear_mesh, set_shear_layer
   use render, only: render_entropy
   use checkpoint, only: shelf_type, read_checkpoint, write_checkpoint
   use bit_flip, only: random_flip, variable_names
   use files, only: make_directory, absolute_path, remove_file, rename_file
   use parameters, only: parameters_type
   use watch, only: watch_type, answer_type
   implicit none
   private
   public :: run_type

   type :: run_type
      private
      type(parameters_type) :: p
      type(mesh_type) :: mesh
      type(gas_type) :: gas
      type(state_type) :: state
      type(workspace_type) :: work
      type(shelf_type) :: shelf
      type(watch_type) :: watch
      character(:), allocatable :: directory
      !> Rewinds so far for an alarm at each image.
      integer, allocatable :: n_rewinds(:)
      integer :: n_alarms = 0
      !> Zones lifted to a floor since the last image.
      integer :: n_floored = 0
   contains
      procedure :: start
      procedure :: to_end
   end type run_type

contains

   !> Sets up the state, the directory and the watch. `message` is empty if the run can begin.
   subroutine start(self, p, message)
      class(run_type), intent(inout) :: self
      type(parameters_type), intent(in) :: p
      character(:), allocatable, intent(out) :: message
      character(:), allocatable :: note

      message = ''
      self%p = p
      self%mesh = shear_mesh(p%ny)
      self%work = new_workspace(self%mesh)
      allocate (self%n_rewinds(0:p%n_steps), source=0)
      call set_shear_layer(self%mesh, self%gas, p%seed, self%state)
      if (len_trim(p%restart) > 0) call read_checkpoint(p%restart, self%mesh, self%state, message)
      if (len(message) > 0) return
      if (p%flip_seed /= 0) then
         self%p%flip = random_flip(self%mesh, p%flip_seed, p%flip_first, p%flip_last)
      end if
      if (.not. make_directory(p%directory)) then
         message = trim(p%directory)//': cannot be made'
         return
      end if
      ! The daemon has a working directory of its own: it needs the whole path.
      self%directory = absolute_path(p%directory)
      call self%shelf%open(self%directory, p%checkpoints_kept)
      call self%watch%open(trim(p%name), p%timeout_ms, note)
      if (len(note) > 0) write (output_unit, '(2a)') 'watch: off, the run goes on without: ', note
   end subroutine start

   !> Runs to the last image and writes the final state to `final.bin` in the directory. `message` is empty if that is reached.
   subroutine to_end(self, message)
      class(run_type), intent(inout) :: self
      character(:), allocatable, intent(out) :: message
      type(answer_type) :: answer
      logical :: collapsed

      message = ''
      ! The image of a checkpoint was judged when the checkpoint was written.
      if (len_trim(self%p%restart) == 0) then
         call show(self, answer, message)
         if (len(message) == 0) call self%shelf%put(self%mesh, self%state, message)
         if (len(message) > 0) return
      end if
      do while (self%state%step < self%p%n_steps)
         call to_next_image(self, collapsed)
         if (collapsed) then
            answer%alarm = .true.
         else
            call show(self, answer, message)
            if (len(message) > 0) return
         end if
         if (answer%alarm) then
            self%n_alarms = self%n_alarms + 1
            call go_back(self, collapsed, message)
         else if (modulo(self%state%step, self%p%checkpoint_every) == 0) then
            call self%shelf%put(self%mesh, self%state, message)
         end if
         if (len(message) > 0) return
         flush (output_unit)
      end do
      call write_checkpoint(self%directory//'/final.bin', self%mesh, self%state, message)
      call self%watch%close()
      write (output_unit, '(a,i0,a,i0,a,i0,a)') 'end: ', self%n_alarms, ' alarms, ', sum(self%n_rewinds), ' rewinds, ', &
         & self%state%cycle, ' cycles'
   end subroutine to_end

   !> Advances to the time of the next image, which is met exactly. `collapsed`: the time step became too small to get there.
   subroutine to_next_image(self, collapsed)
      class(run_type), intent(inout) :: self
      logical, intent(out) :: collapsed
      integer :: next, cycle_in_interval, n_floored
      real(dp) :: until, dt

      next = self%state%step + 1
      ! A product, not a sum: the same number however the run got here.
      until = real(next, dp)*self%p%interval
      self%n_floored = 0
      collapsed = .false.
      cycle_in_interval = 0
      do while (self%state%time < until)
         cycle_in_interval = cycle_in_interval + 1
         collapsed = cycle_in_interval > self%p%max_cycles
         if (collapsed) exit
         if (self%p%flip%strike(self%state, next, cycle_in_interval)) call tell_flip(self)
         call largest_time_step(self%mesh, self%gas, self%p%cfl, self%state%u, self%work, dt)
         if (self%state%time + dt >= until) then
            call advance(self%mesh, self%gas, until - self%state%time, self%state%u, self%work, n_floored)
            self%state%time = until
         else
            call advance(self%mesh, self%gas, dt, self%state%u, self%work, n_floored)
            self%state%time = self%state%time + dt
         end if
         self%n_floored = self%n_floored + n_floored
         self%state%cycle = self%state%cycle + 1
      end do
      self%state%step = next
   end subroutine to_next_image

   subroutine tell_flip(self)
      class(run_type), intent(in) :: self

      associate (flip => self%p%flip)
         write (output_unit, '(a,i0,a,i0,a,i0,a,i0,3a,i0,a,es14.6e3,a,es14.6e3)') 'flip: on the way to step ', flip%step, &
            & ', cycle ', self%state%cycle, ', zone (', flip%i, ', ', flip%j, '), ', trim(variable_names(flip%variable)), &
            & ', bit ', flip%bit, ': ', flip%before, ' -> ', flip%after
      end associate
   end subroutine tell_flip

   !> Renders the state, asks for a verdict on the image and prints both.
   subroutine show(self, answer, message)
      class(run_type), intent(inout) :: self
      type(answer_type), intent(out) :: answer
      character(:), allocatable, intent(out) :: message
      character(:), allocatable :: path
      logical :: ok

      message = ''
      path = image_path(self, self%state%step)
      call render_entropy(self%mesh, self%gas, self%state, self%p%entropy_low, self%p%entropy_high, path, ok)
      if (.not. ok) then
         message = path//': cannot be written'
         return
      end if
      call self%watch%judge(self%state%step, path, answer)
      write (output_unit, '(a,i5,a,f8.4,a,i7,a,a9,a,f9.4,a,f9.4,a,f8.1,a)', advance='no') 'step', self%state%step, '  time', &
         & self%state%time, '  cycle', self%state%cycle, '  ', answer%label, '  score', answer%score, '  threshold', &
         & answer%threshold, '  waited', answer%waited_ms, ' ms'
      if (self%n_floored > 0) write (output_unit, '(a,i0,a)', advance='no') '  (', self%n_floored, ' floored)'
      ! What a normal verdict has to say stands in the columns.
      if (answer%label == 'normal') then
         write (output_unit, '(a)') ''
      else
         write (output_unit, '(2a)') '  ', trim(answer%text)
      end if
      if (answer%alarm) call keep_evidence(self, path)
      if (.not. self%p%keep_images .and. self%state%step > 0) ok = remove_file(image_path(self, self%state%step - 1))
   end subroutine show

   !> Gives the image of an alarm a name of its own, for the person who wants to see it: the replay writes another in its place.
   subroutine keep_evidence(self, path)
      class(run_type), intent(in) :: self
      character(*), intent(in) :: path
      character(32) :: name

      write (name, '(a,i4.4,a,i0,a)') 'alarm_', self%state%step, '_', self%n_rewinds(self%state%step) + 1, '.png'
      if (rename_file(path, self%directory//'/'//trim(name))) write (output_unit, '(2a)') 'alarm: the image is kept as ', trim(name)
   end subroutine keep_evidence

   function image_path(self, number) result(path)
      class(run_type), intent(in) :: self
      integer, intent(in) :: number
      character(:), allocatable :: path
      character(16) :: digits

      write (digits, '(i4.4)') number
      path = self%directory//'/entropy_'//trim(digits)//'.png'
   end function image_path

   !> Answers an alarm at the present step.
   !>
   !> A checkpoint may hold the fault, if it was written between the fault and the alarm. So the run goes back to the newest one
   !> that is at least `rewind_margin` images older than the alarm, and, if the same image raises an alarm again, each time to an
   !> older one. What comes back after `max_rewinds` is no transient fault: it is accepted.
   subroutine go_back(self, collapsed, message)
      class(run_type), intent(inout) :: self
      logical, intent(in) :: collapsed
      character(:), allocatable, intent(out) :: message
      integer :: alarm_step, target, k
      character(:), allocatable :: note

      message = ''
      alarm_step = self%state%step
      if (self%n_rewinds(alarm_step) >= self%p%max_rewinds) then
         if (collapsed) then
            message = 'the time step has collapsed, again and again: the run cannot go on'
         else
            write (output_unit, '(a,i0,a,i0,a)') 'accept: step ', alarm_step, ' came back after ', self%n_rewinds(alarm_step), &
               & ' rewinds, so it is no transient fault'
         end if
         return
      end if
      target = self%shelf%newest_up_to(alarm_step - self%p%rewind_margin)
      do k = 1, self%n_rewinds(alarm_step)
         if (self%shelf%newest_up_to(target - 1) >= 0) target = self%shelf%newest_up_to(target - 1)
      end do
      ! So early that no checkpoint is old enough: the oldest there is.
      if (target < 0) target = self%shelf%newest_up_to(alarm_step - 1)
      if (target < 0) then
         message = 'no checkpoint to go back to'
         return
      end if
      call self%shelf%restore(target, self%mesh, self%state, message)
      if (len(message) > 0) return
      self%n_rewinds(alarm_step) = self%n_rewinds(alarm_step) + 1
      if (collapsed) write (output_unit, '(a,i0)') 'alarm: the time step has collapsed on the way to step ', alarm_step
      write (output_unit, '(a,i0,a,i0)') 'rewind: from step ', alarm_step, ' to the checkpoint of step ', target
      call self%watch%go_back(target, note)
      if (len(note) > 0) write (output_unit, '(2a)') 'watch: ', note
   end subroutine go_back

end module run
